// The operator's signing certificate in a folder (Istio's `cacerts`). The folder is watched: files that fit together take the old ones'
// place, others are refused with a warning and the old ones stay. Which roots are trusted is what root-cert.pem says.
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../../base/log.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { CsrRefusal } from '../../identity/csr-policy.ts';
import { CA_FOLDER_POLL_MS } from '../limits.ts';
import {
  type Authority,
  type AuthorityAbout,
  intermediateAbout,
  issued,
  type LeafRequest,
  rootAbout,
  rootId,
  type SignedLeaf,
} from './authority.ts';
import { type CaMaterial, makeLeaf, pemOf } from './issue.ts';
import { CA_FILES, loadCaMaterial } from './material.ts';

export interface FolderAuthorityOptions {
  readonly folder: string;
  readonly trustDomain: string;
  readonly now: () => number;
  readonly log: Log;
  readonly changed: () => void;
  readonly pollMs?: number;
}

export class FolderAuthority implements Authority {
  readonly kind = 'folder';
  readonly #options: FolderAuthorityOptions;
  readonly #timer: NodeJS.Timeout;
  #material: CaMaterial;
  #signs: string;
  #stamp: string;
  #looking = false;

  private constructor(options: FolderAuthorityOptions, material: CaMaterial, stamp: string) {
    this.#options = options;
    this.#material = material;
    this.#signs = signingRoot(material);
    this.#stamp = stamp;
    this.#timer = setInterval(() => void this.#look(), options.pollMs ?? CA_FOLDER_POLL_MS);
    this.#timer.unref();
  }

  /** Throws CaMaterialError. */
  static async open(options: FolderAuthorityOptions): Promise<FolderAuthority> {
    const stamp = stampOf(options.folder);
    const authority = new FolderAuthority(options, await loadCaMaterial(options.folder, options.trustDomain, options.now()), stamp);
    const open = ((statSync(join(options.folder, CA_FILES.key), { throwIfNoEntry: false })?.mode ?? 0) & 0o007) !== 0;
    if (open) options.log.warning('every user of this machine can read the key of the signing certificate', { folder: options.folder });
    return authority;
  }

  get roots(): readonly string[] {
    return this.#material.roots;
  }

  async sign({ publicKey, uriSan, lifeMs }: LeafRequest): Promise<Result<SignedLeaf, CsrRefusal>> {
    const material = this.#material;
    const nowMs = this.#options.now();
    if (material.notAfterMs <= nowMs) return err({ kind: 'forbidden', message: 'the signing certificate has expired' });
    const leaf = await makeLeaf(material, { publicKey, uriSan, nowMs, lifeMs });
    return ok({ chain: [pemOf(leaf), ...material.intermediates], notAfterMs: leaf.notAfter.getTime(), root: this.#signs });
  }

  material(): Promise<CaMaterial> {
    return Promise.resolve(this.#material);
  }

  about(): AuthorityAbout {
    const { roots, intermediates } = this.#material;
    return {
      roots: roots.map((pem) => rootAbout(rootId(pem), pem, rootId(pem) === this.#signs)),
      intermediate: intermediates.length === 0 ? undefined : intermediateAbout(this.#material),
      rotation: undefined,
    };
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    const { folder, trustDomain, now, log, changed } = this.#options;
    const stamp = stampOf(folder);
    if (stamp === this.#stamp || this.#looking) return;
    this.#looking = true;
    this.#stamp = stamp;
    try {
      this.#material = await loadCaMaterial(folder, trustDomain, now());
      this.#signs = signingRoot(this.#material);
      log.info('the signing certificate was read anew', { folder, signs: this.#signs });
      changed();
    } catch (error) {
      log.warning('the signing certificate stays: the files do not fit together', {
        problem: error instanceof Error ? error.message : String(error),
      });
    } finally {
      this.#looking = false;
    }
  }
}

/** Of the root that the signing certificate leads to: the one whose name the last link names, or the first. */
const signingRoot = ({ certificate, intermediates, roots }: CaMaterial): string => {
  const ids = roots.map(rootId);
  if (intermediates.length === 0) return rootId(pemOf(certificate));
  return ids.find((_, i) => issued(roots[i] ?? '', intermediates.at(-1) ?? '')) ?? ids[0] ?? '';
};

/** Changes when a file does; a mounted secret is a link that is swapped. */
const stampOf = (folder: string): string =>
  Object.values(CA_FILES)
    .map((name) => {
      const stat = statSync(join(folder, name), { throwIfNoEntry: false });
      return stat === undefined ? '' : `${stat.ino} ${stat.mtimeMs} ${stat.size}`;
    })
    .join('|');
