// The mesh's own roots on disk: `<state>/ca/authority.json` says which are trusted and which one signs, and beside it are a certificate
// and a key of each, readable by the owner only. authority.json is written last, so a crash leaves the state before or after a step.
// A folder of before rotation, with one root as ca-cert.pem, is taken over.
import { randomBytes, webcrypto } from 'node:crypto';
import { chmodSync, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../../base/log.ts';
import { firstRoot, type RootRecord, type Roots } from '../../identity/root-rotation.ts';
import { removeStateFile, writeStateFile } from '../state-file.ts';
import { type CaMaterial, type MadeAuthority, makeRoot } from './issue.ts';
import { CA_FILES, CaMaterialError, loadCaMaterial, loadSigning } from './material.ts';
import { x509 } from './x509.ts';

/** A root with what it signs with. */
export interface HeldRoot {
  readonly id: string;
  readonly pem: string;
  readonly signing: Pick<CaMaterial, 'certificate' | 'key' | 'signingAlgorithm'>;
}

const STATE = 'authority.json';
/** What the operator hands to other meshes and to machines outside. */
const BUNDLE = CA_FILES.root;
const ID = /^[0-9a-f]{8}$/;

export const newRootId = (): string => randomBytes(4).toString('hex');
export const recordOf = (id: string, { certificate }: Pick<MadeAuthority, 'certificate'>): RootRecord => ({
  id,
  notBeforeMs: certificate.notBefore.getTime(),
  notAfterMs: certificate.notAfter.getTime(),
});

export class OwnRoots {
  readonly #folder: string;
  readonly #held = new Map<string, HeldRoot>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Reads what is there, or makes the first root. Throws CaMaterialError. */
  async open(trustDomain: string, lives: { readonly rootMs: number; readonly leafMs: number }, nowMs: number, log: Log): Promise<Roots> {
    const path = join(this.#folder, STATE);
    if (!existsSync(path)) {
      const taken = await this.#takeOver(trustDomain, lives.leafMs, nowMs);
      if (taken) return taken;
      const { id, record } = await this.add(trustDomain, nowMs, lives.rootMs);
      log.info('a root certificate is made', { id, expires: new Date(record.notAfterMs).toISOString() });
      const roots = firstRoot(record, lives.leafMs, nowMs);
      this.save(roots);
      return roots;
    }
    const roots = parseRoots(path);
    for (const { id } of roots.trusted) this.#held.set(id, await this.#read(id, log));
    this.#sweep(roots);
    return roots;
  }

  get(id: string): HeldRoot {
    const root = this.#held.get(id);
    if (!root) throw new CaMaterialError(`there is no root ${id}`);
    return root;
  }

  /** A new root, on disk, and trusted by nobody until it is saved as such. */
  async add(trustDomain: string, nowMs: number, lifeMs: number): Promise<{ readonly id: string; readonly record: RootRecord }> {
    const id = newRootId();
    const made = await makeRoot(id, trustDomain, nowMs, lifeMs);
    const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', made.keys.privateKey);
    this.#write(id, made.pem, `${x509.PemConverter.encode(pkcs8, 'PRIVATE KEY')}\n`);
    this.#held.set(id, { id, pem: made.pem, signing: await loadSigning(this.#certificateFile(id), this.#keyFile(id)) });
    return { id, record: recordOf(id, made) };
  }

  /** The step is taken: whatever is not trusted any more is gone, its key too. */
  save(roots: Roots): void {
    writeStateFile(join(this.#folder, STATE), `${JSON.stringify({ version: 1, ...roots }, undefined, 2)}\n`);
    writeStateFile(join(this.#folder, BUNDLE), roots.trusted.map(({ id }) => this.get(id).pem).join(''));
    this.#sweep(roots);
  }

  #certificateFile(id: string): string {
    return join(this.#folder, `root-${id}.pem`);
  }
  #keyFile(id: string): string {
    return join(this.#folder, `root-${id}-key.pem`);
  }

  #write(id: string, certificatePem: string, keyPem: string): void {
    writeStateFile(this.#keyFile(id), keyPem);
    writeStateFile(this.#certificateFile(id), certificatePem);
  }

  async #read(id: string, log: Log): Promise<HeldRoot> {
    const file = this.#keyFile(id);
    const mode = (statSync(file, { throwIfNoEntry: false })?.mode ?? 0) & 0o777;
    if ((mode & 0o077) !== 0) {
      chmodSync(file, 0o600);
      log.warning('the key of a root could be read by others: now it cannot; replace the root if somebody may have', {
        file,
        mode: mode.toString(8),
      });
    }
    return { id, pem: readFileSync(this.#certificateFile(id), 'utf8'), signing: await loadSigning(this.#certificateFile(id), file) };
  }

  async #takeOver(trustDomain: string, leafMs: number, nowMs: number): Promise<Roots | undefined> {
    const from = (name: string): string => join(this.#folder, name);
    if (!existsSync(from(CA_FILES.certificate))) return undefined;
    const { certificate } = await loadCaMaterial(this.#folder, trustDomain, nowMs);
    const id = newRootId();
    this.#write(id, readFileSync(from(CA_FILES.certificate), 'utf8'), readFileSync(from(CA_FILES.key), 'utf8'));
    this.#held.set(id, {
      id,
      pem: readFileSync(from(CA_FILES.certificate), 'utf8'),
      signing: await loadSigning(this.#certificateFile(id), this.#keyFile(id)),
    });
    const roots = firstRoot(recordOf(id, { certificate }), leafMs, nowMs);
    this.save(roots);
    for (const name of [CA_FILES.certificate, CA_FILES.key, CA_FILES.chain]) removeStateFile(from(name));
    return roots;
  }

  #sweep({ trusted }: Roots): void {
    const kept = new Set(trusted.map((r) => r.id));
    for (const id of this.#held.keys()) if (!kept.has(id)) this.#held.delete(id);
    for (const name of readdirSync(this.#folder)) {
      const id = /^root-([0-9a-f]{8})(?:-key)?\.pem$/.exec(name)?.[1];
      if (id !== undefined && !kept.has(id)) removeStateFile(join(this.#folder, name));
    }
  }
}

const parseRoots = (path: string): Roots => {
  try {
    const value = JSON.parse(readFileSync(path, 'utf8')) as Roots;
    const numbers = [
      value.sinceMs,
      value.leafMs,
      value.longerEndMs,
      value.replaced,
      ...value.trusted.flatMap((r) => [r.notBeforeMs, r.notAfterMs]),
    ];
    const sound =
      value.trusted.length >= 1 && value.trusted.length <= 2 && value.trusted.every((r) => ID.test(r.id)) && numbers.every(Number.isFinite);
    if (!sound || !value.trusted.some((r) => r.id === value.active)) throw new Error('it does not hold together');
    const { trusted, active, sinceMs, leafMs, longerEndMs, replaced } = value;
    return { trusted, active, sinceMs, leafMs, longerEndMs, replaced };
  } catch (error) {
    throw new CaMaterialError(`${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
};
