// envoy.filters.http.header_mutation: changes headers of requests and responses, and query parameters, one step after the other as they are
// written; the listener's own first, then those of each level of the route. The route stays the one that was chosen before. Refused: trailers.

import { applyHeaderOps, compileHeaderOps, type HeaderOps } from '../../plan/header-ops.ts';
import { PlanError } from '../../plan/plan-error.ts';
import { editedQuery } from '../../plan/query-edit.ts';
import type { HeaderBlock } from '../../wire/header-block.ts';
import type {
  AnyMessage,
  HeaderMutation,
  HttpHeaderMutation_HeaderMutation as HeaderMutationConfig,
  HeaderMutationPerRoute,
  KeyValueMutation,
  Mutations,
} from '../../xds/gen/types.ts';
import { configAs } from '../extension-config.ts';
import type { FilterExchange, HttpFilter, HttpFilterFactory } from './http-filter.ts';

type Edit = (exchange: FilterExchange) => void;

/** What one level of configuration changes. */
interface Changes {
  readonly request: readonly Edit[];
  readonly response: readonly HeaderOps[];
}
/** A level of a route, and the less specific one. */
interface Level extends Changes {
  readonly above: Level | undefined;
}

const compileChanges = (mutations: Mutations | undefined, path: string): Changes => ({
  request: [
    ...(mutations?.request_mutations ?? []).map((m, i) => compileRequestEdit(m, `${path}request_mutations[${i}]`)),
    ...compileQueryEdits(mutations?.query_parameter_mutations ?? [], `${path}query_parameter_mutations`),
  ],
  response: (mutations?.response_mutations ?? []).map((m, i) => compileOps(m, `${path}response_mutations[${i}]`, 'response')),
});

const compileOps = ({ append, remove }: HeaderMutation, path: string, side: 'request' | 'response'): HeaderOps => {
  const ops = compileHeaderOps(
    { add: append === undefined ? [] : [append], remove: (remove ?? '') === '' ? [] : [remove ?? ''] },
    path,
    side,
  );
  if (ops === undefined) throw new PlanError(path, 'one of remove, append is required');
  return ops;
};

const compileRequestEdit = (mutation: HeaderMutation, path: string): Edit => {
  const ops = [compileOps(mutation, path, 'request')];
  return ({ requestHeaders, info }) => applyHeaderOps(ops, requestHeaders, info, requestHeaders);
};

const compileQueryEdits = (mutations: readonly KeyValueMutation[], path: string): readonly Edit[] => {
  if (mutations.length === 0) return [];
  const steps = mutations.map((m, i) => compileQueryStep(m, `${path}[${i}]`));
  return [
    (exchange) => {
      const path = editedQuery(exchange.path, (parameters) => {
        for (const step of steps) step(parameters, exchange);
      });
      exchange.path = path;
      exchange.info.path = path;
    },
  ];
};

type QueryStep = (parameters: Map<string, string[]>, exchange: FilterExchange) => void;

const compileQueryStep = ({ append, remove }: KeyValueMutation, path: string): QueryStep => {
  if ((remove ?? '') !== '') return (parameters) => parameters.delete(remove ?? '');
  if (append?.entry !== undefined) throw new PlanError(`${path}.append.entry`, 'not supported: use record');
  const key = append?.record?.key ?? '';
  const format = append?.record?.value;
  if (append === undefined || key === '') throw new PlanError(`${path}.append.record`, 'is required');
  if (typeof format !== 'string') throw new PlanError(`${path}.append.record.value`, 'only texts are supported');
  const write = compileHeaderOps({ add: [{ header: { key: 'x', value: format } }], remove: [] }, `${path}.append.record`, 'request')
    ?.writes[0];
  const action = append.action ?? 'APPEND_IF_EXISTS_OR_ADD';
  return (parameters, exchange) => {
    const before = parameters.get(key);
    if (before === undefined ? action === 'OVERWRITE_IF_EXISTS' : action === 'ADD_IF_ABSENT') return;
    const value = write?.value(exchange.info, exchange.requestHeaders) ?? '';
    if (before !== undefined && action === 'APPEND_IF_EXISTS_OR_ADD') before.push(value);
    else parameters.set(key, [value]);
  };
};

class HeaderMutationFilter implements HttpFilter {
  readonly #own: Changes;
  readonly #specificLast: boolean;

  constructor(config: HeaderMutationConfig) {
    this.#own = compileChanges(config.mutations, 'mutations.');
    this.#specificLast = config.most_specific_header_mutations_wins === true;
  }

  onRequest(exchange: FilterExchange, perRoute: unknown): undefined {
    for (const edit of this.#own.request) edit(exchange);
    this.#levels(perRoute as Level | undefined, ({ request }) => {
      for (const edit of request) edit(exchange);
    });
  }

  onResponse(exchange: FilterExchange, response: HeaderBlock, perRoute: unknown): void {
    const apply = (changes: Changes): void => applyHeaderOps(changes.response, response, exchange.info, exchange.requestHeaders, response);
    apply(this.#own);
    this.#levels(perRoute as Level | undefined, apply);
  }

  #levels(level: Level | undefined, apply: (changes: Changes) => void): void {
    if (level === undefined) return;
    if (this.#specificLast) this.#levels(level.above, apply);
    apply(level);
    if (!this.#specificLast) this.#levels(level.above, apply);
  }
}

export const headerMutationFilter: HttpFilterFactory = {
  compile: (typed) => new HeaderMutationFilter(configAs<HeaderMutationConfig>(typed, 'typed_config')),
  compilePerRoute: (typed: AnyMessage, _env, _place, above): Level => ({
    ...compileChanges(configAs<HeaderMutationPerRoute>(typed, '').mutations, 'mutations.'),
    above: above as Level | undefined,
  }),
};
