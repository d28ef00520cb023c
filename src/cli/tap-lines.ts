// What a tapped sidecar sends, read line by line, and one exchange or connection as a line or a block of text. Pure.
import { bytes, milliseconds, type Paint, painted, visible } from './terminal-text.ts';

interface Party {
  readonly workload: string;
  readonly namespace: string;
  readonly principal: string;
  readonly service?: string;
}

/** The fields that are shown; what else a sidecar tells is printed with -o json. */
export interface TappedRequest {
  readonly proxy: string;
  readonly at: string;
  readonly side: string;
  readonly source: Party | null;
  readonly destination: Party | null;
  /** Null: not told. */
  readonly mtls: boolean | null;
  readonly protocol: string;
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  readonly status: number;
  readonly grpcStatus: string | null;
  readonly flags: string;
  readonly details: string;
  readonly durationMs: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly route: string;
  readonly cluster: string;
  readonly upstream: string;
  readonly requestId: string;
  readonly traceId: string;
  readonly headers?: {
    readonly request: readonly (readonly [string, string])[];
    readonly response: readonly (readonly [string, string])[];
    readonly trailers: readonly (readonly [string, string])[];
    readonly more: number;
  };
}

/** A TCP connection, when it has ended or begins. */
export type TappedConnection = Pick<
  TappedRequest,
  | 'proxy'
  | 'at'
  | 'side'
  | 'source'
  | 'destination'
  | 'mtls'
  | 'flags'
  | 'details'
  | 'durationMs'
  | 'bytesIn'
  | 'bytesOut'
  | 'cluster'
  | 'upstream'
> & { readonly event: 'open' | 'close'; readonly client: string; readonly serverName: string };

export interface TapCounts {
  /** It begins. */
  readonly open?: boolean;
  readonly shown?: number;
  readonly skipped?: number;
  readonly dropped?: number;
  readonly ended?: string;
}

export type TapLine = { readonly request: TappedRequest } | { readonly connection: TappedConnection } | { readonly tap: TapCounts };

/** Pieces of any size to whole lines; what is no line of a tap is left out. */
export class TapLines {
  readonly #take: (line: TapLine) => void;
  #rest = '';

  constructor(take: (line: TapLine) => void) {
    this.#take = take;
  }

  receive(text: string): void {
    const parts = (this.#rest + text).split('\n');
    this.#rest = parts.pop() ?? '';
    for (const part of parts) {
      const line = parsed(part);
      if (line !== undefined) this.#take(line);
    }
  }
}

const parsed = (text: string): TapLine | undefined => {
  try {
    const value = JSON.parse(text) as Partial<Record<'request' | 'connection' | 'tap', object>> | null;
    return (value?.request ?? value?.connection ?? value?.tap) === undefined ? undefined : (value as TapLine);
  } catch {
    return undefined;
  }
};

/** `payment-v1-0.production` of a node's id. */
const proxyName = (node: string): string => node.split('~')[2] ?? node;

const nameOf = (party: Party | null): string => {
  if (party === null) return 'unknown';
  if (party.workload === '') return party.service || party.principal || 'unknown';
  return party.namespace === '' ? party.workload : `${party.workload}.${party.namespace}`;
};

const paintOf = ({ status }: TappedRequest): Paint => (status === 0 || status >= 500 ? 'red' : status >= 400 ? 'yellow' : 'green');

const headOf = ({ at, side, source, destination }: Pick<TappedRequest, 'at' | 'side' | 'source' | 'destination'>, colours: boolean) => [
  painted(at.slice(11, 23), 'dim', colours),
  side === 'inbound' ? '← in ' : '→ out',
  `${visible(nameOf(source))} → ${visible(nameOf(destination))}`,
];

const security = (mtls: boolean | null, colours: boolean): string =>
  mtls === null ? '-' : mtls ? 'mtls' : painted('plain', 'yellow', colours);

/** What sidecars say to each other of the service, which is shown in words already. */
const BETWEEN_SIDECARS_NAME = /^outbound_\./;

export const connectionLine = (c: TappedConnection, colours: boolean): string => {
  const parts = [
    ...headOf(c, colours),
    c.serverName === '' || BETWEEN_SIDECARS_NAME.test(c.serverName) ? 'TCP' : `TCP ${visible(c.serverName)}`,
  ];
  if (c.event === 'open') parts.push('opened');
  else parts.push(painted('closed', c.flags === '' ? 'green' : 'red', colours), `${bytes(c.bytesIn)} in, ${bytes(c.bytesOut)} out`);
  if (c.flags !== '') parts.push(painted(visible(c.flags), 'red', colours));
  if (c.event === 'close') parts.push(milliseconds(c.durationMs));
  return `${[...parts, security(c.mtls, colours)].join('  ')}\n`;
};

export const connectionBlock = (c: TappedConnection, colours: boolean): string =>
  [
    connectionLine(c, colours),
    ...factLines(
      [
        ['proxy', proxyName(c.proxy)],
        ['client', c.client],
        ['sni', c.serverName],
        ['details', c.details],
        ['cluster', c.cluster],
        ['upstream', c.upstream],
        ['identities', `${c.source?.principal || '-'} → ${c.destination?.principal || '-'}`],
      ],
      colours,
    ),
  ].join('');

const factLines = (facts: readonly (readonly [string, string])[], colours: boolean): readonly string[] =>
  facts.filter(([, value]) => value !== '').map(([name, value]) => `    ${painted(name.padEnd(10), 'dim', colours)}  ${visible(value)}\n`);

export const requestLine = (r: TappedRequest, colours: boolean): string => {
  const state = `${r.status === 0 ? '000' : r.status}${r.grpcStatus === null ? '' : ` grpc ${r.grpcStatus}`}${r.flags === '' ? '' : ` ${r.flags}`}`;
  const parts = [
    ...headOf(r, colours),
    `${visible(r.method)} ${visible(r.path)}`,
    painted(visible(state), paintOf(r), colours),
    milliseconds(r.durationMs),
    security(r.mtls, colours),
  ];
  return `${parts.join('  ')}\n`;
};

/** The line, and everything else below it. */
export const requestBlock = (r: TappedRequest, colours: boolean): string => {
  const facts: readonly (readonly [string, string])[] = [
    ['proxy', proxyName(r.proxy)],
    ['authority', r.authority],
    ['protocol', r.protocol],
    ['bytes', `${r.bytesIn} in, ${r.bytesOut} out`],
    ['details', r.details],
    ['route', r.route],
    ['cluster', r.cluster],
    ['upstream', r.upstream],
    ['identities', `${r.source?.principal || '-'} → ${r.destination?.principal || '-'}`],
    ['request id', r.requestId],
    ['trace', r.traceId],
  ];
  const heads =
    r.headers === undefined
      ? []
      : [...headLines('>', r.headers.request), ...headLines('<', r.headers.response), ...headLines('<', r.headers.trailers)];
  const more = r.headers !== undefined && r.headers.more > 0 ? [`    and ${r.headers.more} headers more\n`] : [];
  return [requestLine(r, colours), ...factLines(facts, colours), ...heads, ...more].join('');
};

/** What sidecars tell each other of themselves: shown above in words. */
const BETWEEN_SIDECARS: ReadonlySet<string> = new Set(['x-envoy-peer-metadata', 'x-envoy-peer-metadata-id']);

const headLines = (sign: string, headers: readonly (readonly [string, string])[]): string[] =>
  headers.filter(([name]) => !BETWEEN_SIDECARS.has(name)).map(([name, value]) => `    ${sign} ${visible(name)}: ${visible(value)}\n`);
