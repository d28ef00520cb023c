// The filters of a workload with the policies of an authz-builder row: built by what translation itself uses.

import type { Resource } from '../../../src/api/resource.ts';
import { buildAuthorization } from '../../../src/mesh/authorization.ts';
import { buildSnapshot } from '../../../src/mesh/snapshot.ts';
import { authorizationFilters, externalFilters } from '../../../src/translate/authorization-filters.ts';
import { externalAuthorizer } from '../../../src/translate/external-authorization.ts';
import { decodeNamed, encodeNamed } from '../../../src/xds/codec.ts';
import type { HttpFilter } from '../../../src/xds/gen/types.ts';
import { fromJsonNamed, toJsonNamed } from '../../../src/xds/json.ts';
import { meshConfigOf, resourceOf, resourcesOf } from '../../translate/mesh-fixture.ts';
import { labelsOf, type Row, row, rows, text, texts } from './case.ts';

/** The authorizer that the file's README promises. */
const AUTHORIZER = `
apiVersion: v1
kind: Service
metadata: {name: my-custom-ext-authz, namespace: foo}
spec: {ports: [{name: http, port: 9000}]}
`;

export const filtersOf = (r: Row): readonly HttpFilter[] => {
  const policies = rows(r['policies'])
    .map((p) => resourceOf(p))
    .filter((p): p is Resource<'AuthorizationPolicy'> => p !== undefined);
  const workload = row(r['workload']);
  const selection = { namespace: text(workload['namespace']), labels: labelsOf(workload['labels']) };
  const meshConfig = meshConfigOf({ ...row(r['meshConfig']) });
  const { snapshot } = buildSnapshot({ resources: resourcesOf(AUTHORIZER), instances: [], meshConfig });
  const mine = buildAuthorization(policies, text(r['rootNamespace'])).forWorkload(selection);
  const domains = texts(r['trustDomains']);
  const context = {
    trustDomains: domains.length === 0 ? [meshConfig.trustDomain] : domains,
    authorizer: (name: string) => externalAuthorizer(meshConfig, snapshot.services.all, name),
  };
  const build = r['customBuilder'] === true ? externalFilters : authorizationFilters;
  return build(mine, r['mode'] === 'tcp', context);
};

const HTTP_FILTER = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter';

/** As it is after a way over the wire, so that spellings of one message are equal. */
export const sentFilter = (filter: unknown): unknown =>
  toJsonNamed(HTTP_FILTER, decodeNamed(HTTP_FILTER, encodeNamed(HTTP_FILTER, filter)));

export const readFilter = (json: unknown): unknown => sentFilter(fromJsonNamed(HTTP_FILTER, json));
