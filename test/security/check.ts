// What a module of checks gives to the runner, and what the runner gives to it. One check is one row of the table.
import type { Mesh } from '../integration/mesh.ts';
import type { TestAuthority } from '../proxy/certificates.ts';

export type ProxyKind = 'skein' | 'envoy';

/** What a machine may lack: checks that need it are reported as not run. `time`: longer than the short form may take. */
export type Need = 'namespaces' | 'root' | 'envoy' | 'openssl' | 'time';

export interface SecurityCheck {
  /** Of the table of what is shown: 1 to 7. */
  readonly line: number;
  readonly name: string;
  readonly needs: readonly Need[];
  /** Of which sidecar it speaks; undefined: of none, or of both at once. */
  readonly proxy?: ProxyKind;
  /** It runs a mesh of its own: after those on the shop, which is stopped before it. */
  readonly ownMesh?: true;
  /** How long it works by intent: it has that much more time before it counts as hanging. */
  readonly seconds?: number;
  /** Throws when it does not hold. What it returns is printed beside the name: one short line, numbers. */
  run(): Promise<string | undefined>;
}

export interface SecurityContext {
  /** The form for CI: all checks together within 3 minutes. */
  readonly short: boolean;
  /** How long the rotation under load runs; undefined: as long as the form of the run has it. */
  readonly loadSeconds?: number;
  /** Sidecars to run live checks with, in this order. */
  readonly proxies: readonly ProxyKind[];
  /** The real Envoy; undefined when there is none. */
  readonly envoy: string | undefined;
  /** A folder of this run, removed at its end. */
  readonly scratch: string;
  /** Signs certificates of issuers whose keys the shop's control plane fetches; it asks for them anew each second. */
  readonly issuers: TestAuthority;
  /**
   * The shop, live, with this kind of sidecar: started when first asked for, shared by the checks that follow, stopped at the end.
   * A check leaves it as it found it. One kind runs at a time: asking for the other stops this one.
   */
  shop(proxy: ProxyKind): Promise<Mesh>;
  /** Runs a test file (of `test/`, relative to the root) on Bun and says how many passed; throws with its output when one fails. */
  testFile(path: string, options?: { readonly runtime?: 'bun' | 'node'; readonly only?: string }): Promise<string>;
  /** Called at the end, last one first, whatever happened. */
  onEnd(clean: () => void | Promise<void>): void;
}

/** What every module exports as `checks`. Building the list starts nothing: all work is in `run`. */
export type Checks = (context: SecurityContext) => Iterable<SecurityCheck>;
