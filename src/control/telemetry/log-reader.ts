// Reads StreamAccessLogsMessage: entries of HTTP exchanges and TCP connections, of each what the summaries need. Throws WireError for
// bytes that are no such message. Pure.

import type { Node } from '../../xds/gen/types.ts';
import { Reader } from '../../xds/wire-format.ts';
import { eachField, inner } from './metrics-reader.ts';
import { readNode } from './node-reader.ts';

/** '' and 0: not said. */
export interface LogEntry {
  kind: 'http' | 'tcp';
  startMs: number;
  durationMs: number;
  downstreamRemote: string;
  downstreamDirect: string;
  downstreamLocal: string;
  upstreamRemote: string;
  cluster: string;
  route: string;
  flags: string;
  /** Of the connection from downstream. */
  tls: boolean;
  localUri: string;
  peerUri: string;
  attempts: number;
  streamId: string;
  tags: Map<string, string> | undefined;
  /** One of several of a connection that goes on. */
  intermediate: boolean;
  logType: number;
  // HTTP.
  protocol: number;
  method: number;
  authority: string;
  path: string;
  originalPath: string;
  requestId: string;
  requestHeaders: Map<string, string> | undefined;
  requestBytes: number;
  status: number;
  details: string;
  responseHeaders: Map<string, string> | undefined;
  responseTrailers: Map<string, string> | undefined;
  responseBytes: number;
  // TCP.
  received: number;
  sent: number;
  /** Why the connection was ended here. */
  termination: string;
  sni: string;
}

const emptyEntry = (kind: 'http' | 'tcp'): LogEntry => ({
  kind,
  startMs: 0,
  durationMs: 0,
  downstreamRemote: '',
  downstreamDirect: '',
  downstreamLocal: '',
  upstreamRemote: '',
  cluster: '',
  route: '',
  flags: '',
  tls: false,
  localUri: '',
  peerUri: '',
  attempts: 0,
  streamId: '',
  tags: undefined,
  intermediate: false,
  logType: 0,
  protocol: 0,
  method: 0,
  authority: '',
  path: '',
  originalPath: '',
  requestId: '',
  requestHeaders: undefined,
  requestBytes: 0,
  status: 0,
  details: '',
  responseHeaders: undefined,
  responseTrailers: undefined,
  responseBytes: 0,
  received: 0,
  sent: 0,
  termination: '',
  sni: '',
});

export interface LogReading {
  readonly identified: (node: Node, logName: string) => void;
  /** Not called again when it answers false. */
  readonly entry: (entry: LogEntry) => boolean;
}

const LENGTH = 2;

export const readAccessLogs = (bytes: Uint8Array, reading: LogReading): void => {
  const r = new Reader(bytes);
  eachField(r, (field, type) => {
    if (type !== LENGTH) r.skip(type);
    else if (field === 1) readIdentifier(inner(r), reading);
    else if (field === 2 || field === 3) readEntries(inner(r), field === 2 ? 'http' : 'tcp', reading);
    else r.skip(type);
  });
};

const readIdentifier = (r: Reader, { identified }: LogReading): void => {
  let node: Node | undefined;
  let name = '';
  eachField(r, (field, type) => {
    if (field === 1 && type === LENGTH) node = readNode(r.bytes());
    else if (field === 2 && type === LENGTH) name = r.string();
    else r.skip(type);
  });
  if (node !== undefined) identified(node, name);
};

const readEntries = (r: Reader, kind: 'http' | 'tcp', reading: LogReading): void => {
  let more = true;
  eachField(r, (field, type) => {
    if (field !== 1 || type !== LENGTH || !more) {
      r.skip(type);
      return;
    }
    const entry = emptyEntry(kind);
    if (kind === 'http') readHttp(inner(r), entry);
    else readTcp(inner(r), entry);
    more = reading.entry(entry);
  });
};

const readHttp = (r: Reader, entry: LogEntry): void =>
  eachField(r, (field, type) => {
    if (field === 1 && type === LENGTH) readCommon(inner(r), entry);
    else if (field === 2 && type === 0) entry.protocol = r.varint();
    else if (field === 3 && type === LENGTH) readRequest(inner(r), entry);
    else if (field === 4 && type === LENGTH) readResponse(inner(r), entry);
    else r.skip(type);
  });

const readTcp = (r: Reader, entry: LogEntry): void =>
  eachField(r, (field, type) => {
    if (field === 1 && type === LENGTH) readCommon(inner(r), entry);
    else if (field === 2 && type === LENGTH) readConnection(inner(r), entry);
    else r.skip(type);
  });

const readConnection = (r: Reader, entry: LogEntry): void =>
  eachField(r, (field, type) => {
    if (field === 1 && type === 0) entry.received = r.varint();
    else if (field === 2 && type === 0) entry.sent = r.varint();
    else r.skip(type);
  });

const readCommon = (r: Reader, entry: LogEntry): void => {
  let lastMs = 0;
  let duration: number | undefined;
  eachField(r, (field, type) => {
    if (field === 27 && type === 0) entry.intermediate = r.varint() !== 0;
    else if (field === 24 && type === 0) entry.attempts = r.varint();
    else if (field === 33 && type === 0) entry.logType = r.varint();
    else if (type !== LENGTH) r.skip(type);
    else if (field === 2) entry.downstreamRemote = readAddress(inner(r));
    else if (field === 3) entry.downstreamLocal = readAddress(inner(r));
    else if (field === 4) readTls(inner(r), entry);
    else if (field === 5) entry.startMs = readSeconds(inner(r));
    else if (field >= 6 && field <= 12) lastMs = Math.max(lastMs, readSeconds(inner(r)));
    else if (field === 13) entry.upstreamRemote = readAddress(inner(r));
    else if (field === 15) entry.cluster = r.string();
    else if (field === 16) entry.flags = readFlags(inner(r));
    else if (field === 19) entry.route = r.string();
    else if (field === 20) entry.downstreamDirect = readAddress(inner(r));
    else if (field === 22) entry.tags = readMap(inner(r), entry.tags);
    else if (field === 23) duration = readSeconds(inner(r));
    else if (field === 25) entry.termination = r.string();
    else if (field === 26) entry.streamId = r.string();
    else r.skip(type);
  });
  entry.durationMs = duration ?? lastMs;
};

/** The last moment that a date can say: what is told may be any number, and is shown as a date. */
const LAST_MS = 8.64e15;

/** Seconds and nanoseconds, of a Timestamp or a Duration, as milliseconds. */
const readSeconds = (r: Reader): number => {
  let ms = 0;
  eachField(r, (field, type) => {
    if (field === 1 && type === 0) ms += r.varint() * 1000;
    else if (field === 2 && type === 0) ms += r.varint() / 1e6;
    else r.skip(type);
  });
  return Math.min(ms, LAST_MS);
};

/** `ip:port`, or a pipe's path; '' for another. */
const readAddress = (r: Reader): string => {
  let found = '';
  eachField(r, (field, type) => {
    if (field === 1 && type === LENGTH) found = readSocketAddress(inner(r));
    else if (field === 2 && type === LENGTH) found = readPath(inner(r));
    else r.skip(type);
  });
  return found;
};

const readSocketAddress = (r: Reader): string => {
  let address = '';
  let port = 0;
  eachField(r, (field, type) => {
    if (field === 2 && type === LENGTH) address = r.string();
    else if (field === 3 && type === 0) port = r.varint();
    else r.skip(type);
  });
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
};

const readPath = (r: Reader): string => {
  let path = '';
  eachField(r, (field, type) => {
    if (field === 1 && type === LENGTH) path = r.string();
    else r.skip(type);
  });
  return path;
};

const readTls = (r: Reader, entry: LogEntry): void => {
  entry.tls = true;
  eachField(r, (field, type) => {
    if (field === 3 && type === LENGTH) entry.sni = r.string();
    else if (field === 4 && type === LENGTH) entry.localUri = readCertificate(inner(r));
    else if (field === 5 && type === LENGTH) entry.peerUri = readCertificate(inner(r));
    else r.skip(type);
  });
};

/** Its first URI. */
const readCertificate = (r: Reader): string => {
  let found = '';
  eachField(r, (field, type) => {
    if (field === 1 && type === LENGTH) {
      const name = inner(r);
      eachField(name, (kind, wire) => {
        if (kind === 1 && wire === LENGTH && found === '') found = name.string();
        else name.skip(wire);
      });
    } else r.skip(type);
  });
  return found;
};

const readRequest = (r: Reader, entry: LogEntry): void =>
  eachField(r, (field, type) => {
    if (field === 1 && type === 0) entry.method = r.varint();
    else if ((field === 11 || field === 12) && type === 0) entry.requestBytes += r.varint();
    else if (type !== LENGTH) r.skip(type);
    else if (field === 3) entry.authority = r.string();
    else if (field === 5) entry.path = r.string();
    else if (field === 9) entry.requestId = r.string();
    else if (field === 10) entry.originalPath = r.string();
    else if (field === 13) entry.requestHeaders = readMap(inner(r), entry.requestHeaders);
    else r.skip(type);
  });

const readResponse = (r: Reader, entry: LogEntry): void =>
  eachField(r, (field, type) => {
    if ((field === 2 || field === 3) && type === 0) entry.responseBytes += r.varint();
    else if (type !== LENGTH) r.skip(type);
    else if (field === 1) entry.status = readWrapped(inner(r));
    else if (field === 4) entry.responseHeaders = readMap(inner(r), entry.responseHeaders);
    else if (field === 5) entry.responseTrailers = readMap(inner(r), entry.responseTrailers);
    else if (field === 6) entry.details = r.string();
    else r.skip(type);
  });

const readWrapped = (r: Reader): number => {
  let value = 0;
  eachField(r, (field, type) => {
    if (field === 1 && type === 0) value = r.varint();
    else r.skip(type);
  });
  return value;
};

const MAP_MAX = 64;

const readMap = (r: Reader, known: Map<string, string> | undefined): Map<string, string> => {
  const into = known ?? new Map<string, string>();
  let key = '';
  let value = '';
  eachField(r, (field, type) => {
    if (field === 1 && type === LENGTH) key = r.string();
    else if (field === 2 && type === LENGTH) value = r.string();
    else r.skip(type);
  });
  if (into.size < MAP_MAX) into.set(key, value);
  return into;
};

/** By field number; 0 is no flag. */
const FLAGS = [
  ...['', 'LH', 'UH', 'UT', 'LR', 'UR', 'UF', 'UC', 'UO', 'NR', 'DI', 'FI', 'RL', 'UAEX', 'RLSE', 'DC', 'URX', 'SI', 'IH', 'DPE'],
  ...['UMSDR', 'RFCF', 'NFCF', 'DT', 'UPE', 'NC', 'OM', 'DF', 'DR', 'UDO'],
];

const readFlags = (r: Reader): string => {
  let flags = '';
  eachField(r, (field, type) => {
    r.skip(type);
    const flag = FLAGS[field] ?? '';
    if (flag !== '') flags += flags === '' ? flag : `,${flag}`;
  });
  return flags;
};
