// Header values of extension providers that stand in the control plane's environment, not in the file: tokens, mostly. Pure: the
// environment is an argument.

import type { ExtensionProvider, MeshConfig } from './mesh-config.ts';

type Env = Readonly<Record<string, string | undefined>>;
interface Header {
  readonly name?: string;
  readonly value?: string;
  readonly envName?: string;
}

/** Every `envName` is replaced by the value of that variable; `missing` are those that are not set, whose headers are sent empty. */
export const fromEnvironment = (config: MeshConfig, env: Env): { readonly config: MeshConfig; readonly missing: readonly string[] } => {
  const missing: string[] = [];
  const said = (headers: readonly Header[]): readonly Header[] =>
    headers.map(({ envName, ...header }) => {
      if (envName === undefined) return header;
      const value = env[envName];
      if (value === undefined) missing.push(envName);
      return { ...header, value: value ?? '' };
    });
  const extensionProviders = config.extensionProviders.map((p) => withHeaders(p, said));
  return { config: usesEnvironment(config) ? { ...config, extensionProviders } : config, missing };
};

const headersOf = ({ zipkin, opentelemetry }: ExtensionProvider): readonly Header[] => [
  ...(zipkin?.headers ?? []),
  ...(opentelemetry?.http?.headers ?? []),
  ...(opentelemetry?.grpc?.initialMetadata ?? []),
  ...(opentelemetry?.dynatraceSampler?.httpService?.http?.headers ?? []),
];

const usesEnvironment = (config: MeshConfig): boolean =>
  config.extensionProviders.some((p) => headersOf(p).some((h) => h.envName !== undefined));

const withHeaders = (p: ExtensionProvider, said: (headers: readonly Header[]) => readonly Header[]): ExtensionProvider => {
  const inHttp = <T extends { readonly headers?: readonly Header[] }>(http: T): T =>
    http.headers === undefined ? http : { ...http, headers: said(http.headers) };
  const { zipkin, opentelemetry: otel } = p;
  if (zipkin !== undefined) return { ...p, zipkin: inHttp(zipkin) };
  if (otel === undefined) return p;
  const api = otel.dynatraceSampler?.httpService;
  return {
    ...p,
    opentelemetry: {
      ...otel,
      ...(otel.http === undefined ? {} : { http: inHttp(otel.http) }),
      ...(otel.grpc?.initialMetadata === undefined ? {} : { grpc: { ...otel.grpc, initialMetadata: said(otel.grpc.initialMetadata) } }),
      ...(api?.http === undefined
        ? {}
        : { dynatraceSampler: { ...otel.dynatraceSampler, httpService: { ...api, http: inHttp(api.http) } } }),
    },
  };
};
