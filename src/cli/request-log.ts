// Finds requests in the access logs of a local mesh's proxies, by request id or because they went wrong, and refused connections by address. Reads line by line: a log of any
// size takes the memory of its longest line, which is bounded.
import { createReadStream, existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type LoggedRequest, readAccessLine } from '../explain/access-line.ts';

const SUFFIX = /\.proxy\.log(\.\d+)?$/;
/** Longer lines are no access log's. */
const LINE_CHARS_MAX = 64 * 1024;
/** Of one request: its attempts at every hop. */
const ENTRIES_MAX = 100;

/** In the order of their times. */
export const requestsWithId = (folder: string, id: string): Promise<readonly LoggedRequest[]> =>
  search(
    folder,
    (line) => line.includes(id),
    (r) => r.requestId === id,
    ENTRIES_MAX,
  );

/** Requests that a proxy refused or failed by itself: the newest `count`. */
export const failedRequests = (folder: string, count: number): Promise<readonly LoggedRequest[]> =>
  search(folder, () => true, failedHere, count);

/** Connections from an address, or an address with its port, that a policy refused: the newest `count`. */
export const refusedConnections = (folder: string, remote: string, count: number): Promise<readonly LoggedRequest[]> =>
  search(
    folder,
    (line) => line.includes(remote),
    (r) => REFUSED.test(r.termination) && (r.remote === remote || r.remote.startsWith(`${remote}:`)),
    count,
  );

const REFUSED = /^(rbac_access_denied|ext_authz_denied)/;

const failedHere = (r: LoggedRequest): boolean =>
  (r.code >= 400 && r.details !== 'via_upstream') || r.flags.length > 0 || r.termination.startsWith('rbac_access_denied');

const search = async (
  folder: string,
  mayBe: (line: string) => boolean,
  is: (request: LoggedRequest) => boolean,
  newest: number,
): Promise<readonly LoggedRequest[]> => {
  const found: LoggedRequest[] = [];
  for (const file of existsSync(folder) ? readdirSync(folder).filter((f) => SUFFIX.test(f)) : []) {
    const own: LoggedRequest[] = [];
    const reader = createInterface({ input: createReadStream(join(folder, file), 'utf8'), crlfDelay: Number.POSITIVE_INFINITY });
    for await (const line of reader) {
      if (line.length > LINE_CHARS_MAX || !mayBe(line)) continue;
      const read = readAccessLine(line, file.replace(SUFFIX, ''));
      if (read === undefined || !is(read)) continue;
      own.push(read);
      if (own.length > newest) own.shift();
    }
    found.push(...own);
  }
  return found.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0)).slice(-newest);
};
