// The mesh's own authority: roots that replace each other (identity/root-rotation.ts), and below the one that signs an intermediate that
// lives in this process's memory alone and is made anew at half of its life. Leaves are signed by the intermediate.
// One step at a time; a step is on disk before anybody hears of it.
import type { Log } from '../../base/log.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { CsrRefusal } from '../../identity/csr-policy.ts';
import { BACKDATE_MS, type Lives, successorDueMs } from '../../identity/lives.ts';
import {
  activeRoot,
  dueStep,
  nextStep,
  phaseOf,
  type Roots,
  type RotationStep,
  revokeRoot,
  takeStep,
  withLeafLife,
} from '../../identity/root-rotation.ts';
import { AUTHORITY_TURN_MS_MAX } from '../limits.ts';
import {
  type Authority,
  type AuthorityAbout,
  intermediateAbout,
  type LeafRequest,
  type RotationControl,
  rootAbout,
  type SignedLeaf,
} from './authority.ts';
import { type CaMaterial, makeIntermediate, makeLeaf, pemOf } from './issue.ts';
import { newRootId, OwnRoots } from './own-roots.ts';

export interface OwnAuthorityOptions {
  readonly folder: string;
  readonly trustDomain: string;
  readonly lives: Lives;
  /** Roots are replaced in time without an operator. */
  readonly automatic: boolean;
  readonly now: () => number;
  readonly log: Log;
  /** Other roots are trusted now. */
  readonly changed: () => void;
}

export class OwnAuthority implements Authority {
  readonly kind = 'own';
  readonly rotation: RotationControl = {
    take: (step, force) => this.#alone(() => this.#take(step, force)),
    revoke: (id) => this.#alone(() => this.#revoke(id)),
  };
  readonly #options: OwnAuthorityOptions;
  readonly #held: OwnRoots;
  #roots: Roots;
  #intermediate: { readonly root: string; readonly material: CaMaterial } | undefined;
  #making: Promise<CaMaterial> | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  private constructor(options: OwnAuthorityOptions, held: OwnRoots, roots: Roots) {
    this.#options = options;
    this.#held = held;
    this.#roots = roots;
  }

  /** Throws CaMaterialError. */
  static async open(options: OwnAuthorityOptions): Promise<OwnAuthority> {
    const { folder, trustDomain, lives, now, log } = options;
    const held = new OwnRoots(folder);
    const opened = await held.open(trustDomain, lives, now(), log);
    const roots = withLeafLife(opened, lives.leafMs, now());
    if (roots !== opened) held.save(roots);
    const authority = new OwnAuthority(options, held, roots);
    await authority.#turn().catch((error: unknown) => authority.#failed(error));
    return authority;
  }

  get roots(): readonly string[] {
    return this.#roots.trusted.map(({ id }) => this.#held.get(id).pem);
  }

  async sign({ publicKey, uriSan, lifeMs }: LeafRequest): Promise<Result<SignedLeaf, CsrRefusal>> {
    const nowMs = this.#options.now();
    if (activeRoot(this.#roots).notAfterMs <= nowMs) return err({ kind: 'forbidden', message: 'the root certificate has expired' });
    const material = await this.material();
    const root = this.#intermediate?.root ?? '';
    const leaf = await makeLeaf(material, { publicKey, uriSan, nowMs, lifeMs });
    return ok({ chain: [pemOf(leaf), ...material.intermediates], notAfterMs: leaf.notAfter.getTime(), root });
  }

  /** The intermediate, made when there is none yet or half of its life is over. */
  material(): Promise<CaMaterial> {
    const current = this.#intermediate;
    if (current && current.root === this.#roots.active && this.#options.now() < renewalMs(current.material))
      return Promise.resolve(current.material);
    this.#making ??= this.#makeIntermediate().finally(() => (this.#making = undefined));
    return this.#making;
  }

  async #makeIntermediate(): Promise<CaMaterial> {
    const { trustDomain, lives, now, log } = this.#options;
    const root = this.#held.get(this.#roots.active);
    const made = await makeIntermediate(root.signing, newRootId(), trustDomain, now(), lives.intermediateMs);
    const material: CaMaterial = {
      certificate: made.certificate,
      key: made.keys.privateKey,
      signingAlgorithm: root.signing.signingAlgorithm,
      intermediates: [made.pem],
      roots: [root.pem],
      notAfterMs: made.certificate.notAfter.getTime(),
    };
    // A root that was replaced meanwhile signs no more: who waits gets it all the same, and the next one a new one.
    this.#intermediate = { root: root.id, material };
    log.info('an intermediate certificate is made', { root: root.id, expires: made.certificate.notAfter.toISOString() });
    return material;
  }

  about(): AuthorityAbout {
    const roots = this.#roots;
    const { step, fromMs } = nextStep(roots);
    const { automatic } = this.#options;
    const dueMs = step === 'prepare' ? Math.max(fromMs, successorDueMs(activeRoot(roots), roots.leafMs)) : fromMs;
    return {
      roots: roots.trusted.map(({ id }) => rootAbout(id, this.#held.get(id).pem, id === roots.active)),
      intermediate: this.#intermediate && intermediateAbout(this.#intermediate.material),
      rotation: {
        phase: phaseOf(roots),
        automatic,
        next: step,
        soundFrom: new Date(fromMs).toISOString(),
        due: automatic ? new Date(dueMs).toISOString() : undefined,
        replaced: roots.replaced,
      },
    };
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #take(step: RotationStep | undefined, force: boolean): Promise<Result<RotationStep, string>> {
    const { trustDomain, lives, now, log } = this.#options;
    const wanted = step ?? nextStep(this.#roots).step;
    const refused = wanted === 'prepare' && phaseOf(this.#roots) !== 'steady';
    const fresh = wanted === 'prepare' && !refused ? (await this.#held.add(trustDomain, now(), lives.rootMs)).record : undefined;
    const taken = takeStep(this.#roots, wanted, now(), { force, ...(fresh && { fresh }) });
    if (!taken.ok) return taken;
    this.#use(taken.value);
    log.info('a step of the rotation of roots is taken', {
      step: wanted,
      trusted: taken.value.trusted.map((r) => r.id).join(),
      signs: taken.value.active,
    });
    return ok(wanted);
  }

  async #revoke(id: string | undefined): Promise<Result<string, string>> {
    const { trustDomain, lives, now, log } = this.#options;
    const goes = id ?? this.#roots.trusted[0].id;
    const known = this.#roots.trusted.some((r) => r.id === goes);
    const needed = known && this.#roots.trusted.length === 1;
    const fresh = needed ? (await this.#held.add(trustDomain, now(), lives.rootMs)).record : activeRoot(this.#roots);
    const revoked = revokeRoot(this.#roots, goes, now(), fresh);
    if (!revoked.ok) return revoked;
    this.#use(revoked.value);
    log.warning('a root is revoked: every certificate below it is refused from now on', { root: goes, signs: revoked.value.active });
    return ok(goes);
  }

  #use(roots: Roots): void {
    this.#held.save(roots);
    this.#roots = roots;
    if (this.#intermediate?.root !== roots.active) this.#intermediate = undefined;
    this.#making = undefined;
    this.#options.changed();
    void this.material(); // the first workload need not wait for it
    this.#schedule();
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work);
    this.#last = mine.catch(() => undefined);
    return mine;
  }

  /** What time alone brings: the next intermediate, and without an operator the next step. */
  async #turn(): Promise<void> {
    const due = this.#options.automatic ? dueStep(this.#roots, this.#options.now()) : undefined;
    if (due !== undefined) {
      const taken = await this.#alone(() => this.#take(undefined, false));
      if (!taken.ok) this.#options.log.warning('the rotation of roots waits', { problem: taken.error });
    }
    if (activeRoot(this.#roots).notAfterMs <= this.#options.now()) throw new Error('the root certificate has expired: skein ca rotate');
    await this.material();
    this.#schedule();
  }

  #failed(error: unknown): void {
    const problem = error instanceof Error ? error.message : String(error);
    this.#options.log.error('the certificate authority could not renew itself', { problem });
    this.#schedule(AUTHORITY_TURN_MS_MAX);
  }

  #schedule(leastMs = MIN_TURN_MS): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    const { now, automatic } = this.#options;
    const { rotation } = this.about();
    const dueMs = automatic && rotation?.due !== undefined ? Date.parse(rotation.due) : Number.POSITIVE_INFINITY;
    const atMs = Math.min(dueMs, this.#intermediate ? renewalMs(this.#intermediate.material) : 0);
    const waitMs = Math.max(leastMs, Math.min(atMs - now(), AUTHORITY_TURN_MS_MAX));
    this.#timer = setTimeout(() => void this.#turn().catch((error: unknown) => this.#failed(error)), waitMs);
    this.#timer.unref();
  }
}

const MIN_TURN_MS = 50;

const renewalMs = ({ certificate }: CaMaterial): number =>
  (certificate.notBefore.getTime() + BACKDATE_MS + certificate.notAfter.getTime()) / 2;
