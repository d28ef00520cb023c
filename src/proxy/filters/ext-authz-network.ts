// envoy.filters.network.ext_authz: every connection is put to an authorization server before it is served. Asked when its chain is
// known, where Envoy waits for the client's first byte: nothing is dialled for a connection that may not be, and a server that speaks
// first does not speak to it.

import { PlanError } from '../../plan/plan-error.ts';
import { FLAG } from '../../plan/response-flag.ts';
import { compileMetadataMatcher } from '../../plan/value-matcher.ts';
import type { CheckResponse, NetworkExtAuthz_ExtAuthz } from '../../xds/gen/types.ts';
import type { DownstreamFacts } from '../connection-facts.ts';
import { configAs } from '../extension-config.ts';
import { connectionAttributes } from './ext-authz-check.ts';
import { compileCheckCall } from './ext-authz-server.ts';
import type { NetworkFilterFactory, Refusal } from './network-filter.ts';

const NAMESPACE = 'envoy.filters.network.ext_authz';

export const networkExtAuthz: NetworkFilterFactory = (any, env, path) => {
  const config = configAs<NetworkExtAuthz_ExtAuthz>(any, path);
  const prefix = config.stat_prefix ?? '';
  if (prefix === '') throw new PlanError(`${path}.stat_prefix`, 'is needed');
  if ((config.bootstrap_metadata_labels_key ?? '') !== '') throw new PlanError(`${path}.bootstrap_metadata_labels_key`, 'is not supported');
  const enabled =
    config.filter_enabled_metadata === undefined
      ? undefined
      : compileMetadataMatcher(config.filter_enabled_metadata, `${path}.filter_enabled_metadata`);
  const call = compileCheckCall(config.grpc_service, env, `${path}.grpc_service`);
  const plan = {
    includeCertificate: config.include_peer_certificate === true,
    includeTlsSession: config.include_tls_session === true,
  };
  const failOpen = config.failure_mode_allow === true;
  const counter = (name: string) => env.stats.counter(`ext_authz.${prefix}.${name}`);
  const active = env.stats.gauge(`ext_authz.${prefix}.active`);
  const [total, ok, denied, error] = [counter('total'), counter('ok'), counter('denied'), counter('error')];
  const [allowed, closed, disabled] = [counter('failure_mode_allowed'), counter('cx_closed'), counter('disabled')];

  const decide = (facts: DownstreamFacts, response: CheckResponse | string): Refusal | undefined => {
    if (typeof response === 'string') {
      env.log.debug('external authorization failed', { why: response });
      error.value++;
      if (!failOpen) {
        closed.value++;
        return FAILED;
      }
      allowed.value++;
      return undefined;
    }
    if (response.dynamic_metadata !== undefined) {
      facts.dynamicMetadata ??= {};
      facts.dynamicMetadata[NAMESPACE] = { ...facts.dynamicMetadata[NAMESPACE], ...response.dynamic_metadata };
    }
    if ((response.status?.code ?? 0) === 0) {
      ok.value++;
      return undefined;
    }
    denied.value++;
    closed.value++;
    return DENIED;
  };

  return {
    admit: () => {
      disabled.value++;
      return undefined;
    },
    waits: (facts) => enabled?.(facts.dynamicMetadata) ?? true,
    ask: (facts, decided) => {
      total.value++;
      active.value++;
      const task = call(connectionAttributes(plan, facts), (response) => {
        active.value--;
        decided(decide(facts, response));
      });
      return {
        cancel: () => {
          active.value--;
          task.cancel();
        },
      };
    },
  };
};

const DENIED: Refusal = {
  reason: 'ext_authz_close',
  details: '',
  delayMs: 0,
  flag: FLAG.UAEX,
  responseDetails: 'ext_authz_denied',
};
const FAILED: Refusal = { ...DENIED, responseDetails: 'ext_authz_error' };
