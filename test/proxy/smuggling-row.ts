// A row of the smuggling table, and the builder its rule families use.

export type ListenerKind = 'plain' | 'http10' | 'upgrade' | 'trailers';

/** `arrives` lists what the backend may see as `METHOD host target body`, and nothing else may reach it. */
export interface HostileRow {
  readonly what: string;
  readonly bytes: string;
  readonly on: ListenerKind;
  readonly arrives: readonly string[];
  /** The last answer, after which the connection ends; undefined: every request is answered by the backend. */
  readonly status: number | undefined;
}

interface More {
  readonly on?: ListenerKind;
  readonly arrives?: readonly string[];
}

export class HostileRows {
  readonly rows: HostileRow[] = [];

  refuse(what: string, bytes: string, status = 400, more: More = {}): void {
    this.#add(what, bytes, status, more);
  }

  pass(what: string, bytes: string, arrives: readonly string[], more: More = {}): void {
    this.#add(what, bytes, undefined, { ...more, arrives });
  }

  #add(what: string, bytes: string, status: number | undefined, more: More): void {
    this.rows.push({ what, bytes, on: more.on ?? 'plain', arrives: more.arrives ?? [], status });
  }
}

/** How bytes are named. */
export const shown = (text: string): string =>
  JSON.stringify(text.length > 40 ? `${text.slice(0, 20)}…${text.length}` : text).replace(
    /[\x7f-\xff]/g,
    (c) => `\\x${c.charCodeAt(0).toString(16)}`,
  );

/** What an attacker wants the backend to take for a request of its own. */
export const SECOND = 'GET /second HTTP/1.1\r\nHost: a\r\n\r\n';
export const POST = 'POST /a HTTP/1.1\r\nHost: a\r\n';
export const GET = 'GET /a HTTP/1.1\r\nHost: a\r\n';
