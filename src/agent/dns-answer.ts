// What one DNS question gets from the mesh's names: an answer, or `undefined` for the upstream resolver. Pure.
import {
  type Answer,
  AUTHORITATIVE_ANSWER,
  encode,
  type Packet,
  type Question,
  RECURSION_AVAILABLE,
  RECURSION_DESIRED,
  TRUNCATED_RESPONSE,
} from 'dns-packet';
import { DNS_TTL_S, DNS_UDP_BYTES_DEFAULT, DNS_UDP_BYTES_MAX } from './limits.ts';
import type { NameIndex } from './name-index.ts';

/** `random` in [0, 1) picks the first address: clients that take only the first still spread. */
export const answerFromMesh = (index: NameIndex, question: Question, random: () => number): readonly Answer[] | undefined => {
  const service = /^_[^.]+\._(?:tcp|udp)\.(.+)$/i.exec(question.name)?.[1];
  const found = index.lookup(question.name) ?? (question.type === 'SRV' && service !== undefined ? index.lookup(service) : undefined);
  if (!found) return undefined;
  const addresses = question.type === 'A' ? found.v4 : question.type === 'AAAA' ? found.v6 : [];
  // A known name without the type asked for exists, without data: passing it on would make it "does not exist".
  const owner = found.alias ?? question.name;
  const records = rotate(addresses, random).map(
    (data): Answer => ({ name: owner, type: question.type, class: 'IN', ttl: DNS_TTL_S, data }),
  );
  if (found.alias === undefined) return records;
  return [{ name: question.name, type: 'CNAME', class: 'IN', ttl: DNS_TTL_S, data: found.alias }, ...records];
};

const rotate = <T>(list: readonly T[], random: () => number): readonly T[] => {
  const by = Math.floor(random() * list.length);
  return [...list.slice(by), ...list.slice(0, by)];
};

export type Rcode = 'NOERROR' | 'FORMERR' | 'SERVFAIL' | 'NXDOMAIN' | 'NOTIMP' | 'REFUSED';
const RCODES: { readonly [K in Rcode]: number } = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 };

/** The bytes of a response to `query`. */
export const dnsResponse = (query: Packet, rcode: Rcode, answers: readonly Answer[], extraFlags = 0): Buffer => {
  const desired = (query.flags ?? 0) & RECURSION_DESIRED;
  const authoritative = rcode === 'NOERROR' && extraFlags === 0 ? AUTHORITATIVE_ANSWER : 0;
  const asksEdns = query.additionals?.some((a) => a.type === 'OPT') ?? false;
  return encode({
    type: 'response',
    id: query.id ?? 0,
    flags: desired | RECURSION_AVAILABLE | authoritative | extraFlags | RCODES[rcode],
    questions: query.questions ?? [],
    answers,
    additionals: asksEdns ? [{ name: '.', type: 'OPT', udpPayloadSize: DNS_UDP_BYTES_MAX, flags: 0 }] : [],
  });
};

/** The same within what the client takes over UDP; beyond that, truncated, so that it asks over TCP. */
export const dnsUdpResponse = (query: Packet, rcode: Rcode, answers: readonly Answer[]): Buffer => {
  const whole = dnsResponse(query, rcode, answers);
  const announced = query.additionals?.find((a) => a.type === 'OPT')?.udpPayloadSize ?? DNS_UDP_BYTES_DEFAULT;
  const bytesMax = Math.min(Math.max(announced, DNS_UDP_BYTES_DEFAULT), DNS_UDP_BYTES_MAX);
  return whole.length <= bytesMax ? whole : dnsResponse(query, rcode, [], TRUNCATED_RESPONSE);
};
