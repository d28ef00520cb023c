// The server side of a connection whose client has said nothing yet, dialled because the server may be the one to speak first.
// If it speaks, the connection is what the chain for silent clients makes of it; if the client speaks, its bytes decide and this
// dial is used when they lead to the same chain, else closed. A server that greets with HTTP decides nothing: HTTP/2 servers send
// SETTINGS to anyone, and a client that was merely slow must not come past the policies of HTTP by that.

import { StreamInfo } from '../../plan/stream-info.ts';
import { sniffGreeting } from '../../wire/http-sniff.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import { admit, release } from '../filters/network-filter.ts';
import { FLUSH_CHECK_MS } from '../limits.ts';
import { PROCESS_FACTS } from '../process-facts.ts';
import type { ProxyEnvironment } from '../proxy-environment.ts';
import type { TcpPlan } from '../tcp/tcp-plan.ts';
import { TcpUpstream, type UpstreamOwner } from '../tcp/tcp-upstream.ts';
import type { ChainRuntime } from './filter-chain-runtime.ts';

export interface EarlyDialOwner {
  /** The server has spoken a protocol of its own: `dial.greeting` has it all. */
  onServerSpoke(): void;
  /** The dial came to nothing and is closed. */
  onDialOver(): void;
}

export class EarlyDial implements UpstreamOwner {
  readonly chain: ChainRuntime;
  readonly upstream: TcpUpstream;
  greeting: Buffer | undefined;
  readonly #env: ProxyEnvironment;
  readonly #facts: DownstreamFacts;
  readonly #owner: EarlyDialOwner;
  #over = false;

  /** undefined: the chain does not want the connection as it is; its client may still say something that another one takes. */
  static begin(
    env: ProxyEnvironment,
    chain: ChainRuntime,
    plan: TcpPlan,
    facts: DownstreamFacts,
    owner: EarlyDialOwner,
  ): EarlyDial | undefined {
    const verdict = admit(chain.networkFilters, facts);
    if (verdict !== undefined) {
      if (typeof verdict === 'number') release(chain.networkFilters, facts, verdict);
      facts.filterState = undefined;
      return undefined;
    }
    env.serverFirst.dialled.value++;
    return new EarlyDial(env, chain, plan, facts, owner);
  }

  private constructor(env: ProxyEnvironment, chain: ChainRuntime, plan: TcpPlan, facts: DownstreamFacts, owner: EarlyDialOwner) {
    this.#env = env;
    this.chain = chain;
    this.#facts = facts;
    this.#owner = owner;
    this.upstream = new TcpUpstream(env, plan, facts, new StreamInfo(PROCESS_FACTS), this);
  }

  start(): void {
    this.upstream.begin();
  }

  /** It is not needed: closed, and what it was counted under is given back. */
  drop(): void {
    if (this.#over) return;
    this.#over = true;
    release(this.chain.networkFilters, this.#facts);
    this.#facts.filterState = undefined;
    this.upstream.close(FLUSH_CHECK_MS);
  }

  // --- UpstreamOwner ---

  onUpstreamConnected(): void {}

  onUpstreamData(bytes: Buffer): void {
    if (this.#over) return;
    this.greeting = this.greeting === undefined ? bytes : Buffer.concat([this.greeting, bytes]);
    const spoken = sniffGreeting(this.greeting);
    if (spoken === 'need-more') return;
    if (spoken === 'other') {
      this.#over = true;
      this.#owner.onServerSpoke();
      return;
    }
    this.#env.serverFirst.httpGreeting.value++;
    this.#lost();
  }

  onUpstreamFailed(): void {
    this.#lost();
  }
  onUpstreamEnd(): void {
    this.#lost();
  }
  onUpstreamClosed(): void {
    this.#lost();
  }
  onUpstreamDrain(): void {}

  #lost(): void {
    if (this.#over) return;
    this.drop();
    this.#owner.onDialOver();
  }
}
