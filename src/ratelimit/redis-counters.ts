// Counts in Redis: INCRBY and EXPIRE of every key in one round trip. While Redis is away every call is refused at once; one that
// Redis does not answer is refused after a bounded time. The connection is made anew in the background, ever more slowly.
import { Redis } from 'ioredis';
import type { Counters, Hit } from './counters.ts';

export interface RedisOptions {
  /** redis://[user:password@]host:port[/db], rediss:// for TLS, or a socket's path. */
  readonly url: string;
  readonly timeoutMs: number;
  /** What became of the connection, in words. No credentials. */
  readonly told: (what: 'connected' | 'lost', why: string) => void;
}

const CONNECT_TIMEOUT_MS = 2000;
const RETRY_MS = { first: 50, most: 2000 };

export class RedisCounters implements Counters {
  readonly #redis: Redis;

  constructor({ url, timeoutMs, told }: RedisOptions) {
    let why = '';
    this.#redis = new Redis(url, {
      lazyConnect: true,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      commandTimeout: timeoutMs,
      connectTimeout: CONNECT_TIMEOUT_MS,
      keepAlive: 30_000,
      retryStrategy: (times) => Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** Math.min(times, 10)) * (0.5 + Math.random() / 2),
    });
    this.#redis.on('error', (error: Error) => {
      why = error.message;
    });
    this.#redis.on('ready', () => told('connected', ''));
    this.#redis.on('close', () => told('lost', why));
    // What it comes to is told by the events.
    this.#redis.connect().catch(() => {});
  }

  get ready(): boolean {
    return this.#redis.status === 'ready';
  }

  async add(hits: readonly Hit[]): Promise<readonly number[]> {
    if (!this.ready) throw new Error('Redis is not connected');
    const batch = this.#redis.pipeline();
    for (const { key, hits: by, expireSeconds } of hits) batch.incrby(key, by).expire(key, expireSeconds);
    const answers = (await batch.exec()) ?? [];
    return hits.map((_hit, i) => {
      const [error, count] = answers[2 * i] ?? [new Error('Redis gave no answer'), undefined];
      if (error !== null) throw error;
      if (typeof count !== 'number') throw new Error('Redis gave no count');
      return count;
    });
  }

  close(): Promise<void> {
    this.#redis.disconnect();
    return Promise.resolve();
  }
}
