// The pure stages that the control plane drives: text → resources → snapshot → configuration of one proxy. One value
// passed in at assembly, so that the process can be tested with stages of a few lines.
import type { MeshConfigRead } from '../api/mesh-config/mesh-config.ts';
import { parseMeshConfig } from '../api/mesh-config/mesh-config.ts';
import { type ParsedDocuments, parseDocuments } from '../api/parse-documents.ts';
import type { Problem } from '../api/problem.ts';
import type { Result } from '../base/result.ts';
import { http2Problems } from '../mesh/findings.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import { buildSnapshot } from '../mesh/snapshot.ts';
import type { Note } from '../translate/note.ts';
import { heldBackPatches } from '../translate/patch-set.ts';
import type { ProxyNode } from '../translate/proxy-node.ts';
import { parseNode } from '../translate/proxy-node.ts';
import { type Unenforced, unenforced } from '../translate/security-filters.ts';
import { type ConfigPiece, type MakePiece, translatePieces } from '../translate/translate.ts';
import type { Node } from '../xds/gen/types.ts';

export type SnapshotInput = Parameters<typeof buildSnapshot>[0];

export interface Pipeline {
  parseDocuments(file: string, text: string, options: { readonly defaultNamespace?: string }): ParsedDocuments;
  parseMeshConfig(file: string, text: string): Result<MeshConfigRead, readonly Problem[]>;
  buildSnapshot(input: SnapshotInput): { readonly snapshot: Snapshot; readonly problems: readonly Problem[] };
  /** Undefined when the node's id or metadata is not one of a mesh proxy. */
  parseNode(node: Node): ProxyNode | undefined;
  /** All that a proxy of the kind is to have; `piece` makes one, or gives what was made before. */
  translatePieces(kind: ProxyNode['kind'], piece: MakePiece): readonly ConfigPiece[];
  /** What proxies without HTTP/2 do not do for the mesh. */
  http2Problems(snapshot: Snapshot): readonly Problem[];
  /** The policies of a proxy's workload that it announced it cannot carry out. */
  unenforced(snapshot: Snapshot, node: ProxyNode): readonly Unenforced[];
  /** The patches of a proxy's workload that it announced it does not understand. */
  heldBackPatches(snapshot: Snapshot, node: ProxyNode): readonly Note[];
}

export const PIPELINE: Pipeline = {
  parseDocuments,
  parseMeshConfig,
  buildSnapshot,
  parseNode,
  translatePieces,
  http2Problems,
  unenforced,
  heldBackPatches,
};
