// The patches that concern one node, made ready: values read as Envoy's messages, and what the node does not understand held back.

import { RE2JS } from 're2js';
import type { EnvoyFilterMatch } from '../api/specs.ts';
import { type Patch, type PatchOperation, type PatchTarget, patchPath } from '../mesh/envoy-filters.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import { CodecError } from '../xds/codec.ts';
import '../xds/control-types.ts';
import { fromJsonNamed } from '../xds/json.ts';
import { pruneJson } from '../xds/prune-json.ts';
import type { Note } from './note.ts';
import { type Message, packedTypes } from './patch-merge.ts';
import { mayUnderstand, type ProxyNode } from './proxy-node.ts';

export type PatchContext = 'SIDECAR_INBOUND' | 'SIDECAR_OUTBOUND' | 'GATEWAY';

/** The message that a patch of each kind is, or is a part of. */
const PATCH_TYPES: Readonly<Partial<Record<PatchTarget, string>>> = {
  LISTENER: 'envoy.config.listener.v3.Listener',
  FILTER_CHAIN: 'envoy.config.listener.v3.FilterChain',
  NETWORK_FILTER: 'envoy.config.listener.v3.Filter',
  HTTP_FILTER: 'envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter',
  LISTENER_FILTER: 'envoy.config.listener.v3.ListenerFilter',
  ROUTE_CONFIGURATION: 'envoy.config.route.v3.RouteConfiguration',
  VIRTUAL_HOST: 'envoy.config.route.v3.VirtualHost',
  HTTP_ROUTE: 'envoy.config.route.v3.Route',
  CLUSTER: 'envoy.config.cluster.v3.Cluster',
  EXTENSION_CONFIG: 'envoy.config.core.v3.TypedExtensionConfig',
  BOOTSTRAP: 'envoy.config.bootstrap.v3.Bootstrap',
};

export interface ReadyPatch {
  readonly patch: Patch;
  readonly operation: PatchOperation;
  readonly match: EnvoyFilterMatch;
  readonly type: string;
  readonly value: Message;
}

/** Of the patches that a proxy gets, which changed something there. */
export interface PatchReport {
  readonly applied: ReadonlySet<Patch>;
  readonly idle: ReadonlySet<Patch>;
}

const INSERTS: ReadonlySet<PatchOperation> = new Set(['INSERT_BEFORE', 'INSERT_AFTER', 'INSERT_FIRST']);
const ORDERED: ReadonlySet<PatchTarget> = new Set(['NETWORK_FILTER', 'HTTP_FILTER', 'HTTP_ROUTE', 'LISTENER_FILTER']);

/** Where order means nothing, to insert is to add. */
const effective = (patch: Patch): PatchOperation => (INSERTS.has(patch.operation) && !ORDERED.has(patch.applyTo) ? 'ADD' : patch.operation);

const read = new WeakMap<Patch, ReadyPatch | CodecError>();

/** The value as a message. A pure function of the patch, kept because every proxy asks for it. */
export const readyPatch = (patch: Patch): ReadyPatch | CodecError => {
  const known = read.get(patch);
  if (known !== undefined) return known;
  const made = make(patch);
  read.set(patch, made);
  return made;
};

const make = (patch: Patch): ReadyPatch | CodecError => {
  const type = PATCH_TYPES[patch.applyTo];
  if (type === undefined) return new CodecError('', `applyTo ${patch.applyTo} has no message`);
  try {
    // Fields that no message has were warned about when the object was read.
    const value = fromJsonNamed(type, pruneJson(type, patch.value).json) as Message;
    return { patch, operation: effective(patch), match: patch.match, type, value };
  } catch (error) {
    if (error instanceof CodecError) return error;
    throw error;
  }
};

/** What our own proxy reads without announcing it. */
const OWN = /^envoy\.extensions\.request_id\.uuid\.v3\./;
/** What Envoy announces as no type: its core's messages but tracers, connection pools, SPIFFE validation. */
const ENVOYS = /^envoy\.config\.(?!trace\.)|^envoy\.extensions\.(?:upstreams\.http\.|transport_sockets\.tls\.v3\.SPIFFE)/;

const notUnderstood = (node: ProxyNode, value: Message): readonly string[] => {
  const unlisted = node.isSkein === true ? OWN : ENVOYS;
  return [...packedTypes(value)].filter((t) => !mayUnderstand(node, t) && !unlisted.test(t));
};

const selectsNode = ({ match }: Patch, node: ProxyNode): boolean => {
  const { proxyVersion = '', metadata = {} } = match.proxy ?? {};
  if (proxyVersion !== '') {
    const version = node.metadata['ISTIO_VERSION'];
    if (typeof version !== 'string' || version === '' || !versionMatches(proxyVersion, version)) return false;
  }
  return Object.entries(metadata).every(([key, value]) => node.metadata[key] === value);
};

/** Found anywhere in the version, as Go's regular expressions are. */
const versionMatches = (expression: string, version: string): boolean => {
  try {
    return RE2JS.compile(expression).matcher(version).find();
  } catch {
    return false;
  }
};

const NONE: readonly ReadyPatch[] = [];

export class PatchSet {
  readonly #byTarget = new Map<PatchTarget, ReadyPatch[]>();
  readonly #applied = new Set<Patch>();
  readonly #notes: Note[] = [];

  constructor(snapshot: Snapshot, node: ProxyNode) {
    for (const patch of snapshot.envoyFilters.forWorkload(node)) {
      if (!selectsNode(patch, node) || !contextReaches(patch, node)) continue;
      const ready = readyPatch(patch);
      if (ready instanceof CodecError) continue;
      const foreign = notUnderstood(node, ready.value);
      if (foreign.length > 0) {
        this.#notes.push(heldBack(patch, foreign));
        continue;
      }
      const list = this.#byTarget.get(patch.applyTo);
      if (list === undefined) this.#byTarget.set(patch.applyTo, [ready]);
      else list.push(ready);
    }
  }

  get isEmpty(): boolean {
    return this.#byTarget.size === 0;
  }

  has(...targets: readonly PatchTarget[]): boolean {
    return targets.some((t) => this.#byTarget.has(t));
  }

  of(target: PatchTarget, context: PatchContext): readonly ReadyPatch[] {
    const list = this.#byTarget.get(target);
    return list?.filter((p) => (p.match.context ?? 'ANY') === 'ANY' || p.match.context === context) ?? NONE;
  }

  /** Whatever context they name. */
  all(target: PatchTarget): readonly ReadyPatch[] {
    return this.#byTarget.get(target) ?? NONE;
  }

  /** What all of them bring. */
  get values(): readonly Message[] {
    return [...this.#byTarget.values()].flat().map((r) => r.value);
  }

  /** It changed something. */
  note(ready: ReadyPatch): void {
    this.#applied.add(ready.patch);
  }

  report(): PatchReport {
    const all = [...this.#byTarget.values()].flat().map((r) => r.patch);
    return { applied: this.#applied, idle: new Set(all.filter((p) => !this.#applied.has(p))) };
  }

  /** Of patches that were held back. */
  get notes(): readonly Note[] {
    return this.#notes;
  }
}

/** Of the patches that a proxy should get, those it does not understand. */
export const heldBackPatches = (snapshot: Snapshot, node: ProxyNode): readonly Note[] => new PatchSet(snapshot, node).notes;

const contextReaches = (patch: Patch, node: ProxyNode): boolean => {
  const context = patch.match.context ?? 'ANY';
  return context === 'ANY' || (node.kind === 'router') === (context === 'GATEWAY');
};

const heldBack = (patch: Patch, types: readonly string[]): Note => ({
  code: 'PATCH_NOT_UNDERSTOOD',
  resource: patch.resource,
  path: `${patchPath(patch)}.patch.value`,
  what: `cannot be given the patch, which needs ${types.join(' and ')}`,
});
