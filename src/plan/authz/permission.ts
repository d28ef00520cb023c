// envoy.config.rbac.v3.Permission: what a request asks for.
import type { Permission, UriTemplateMatchConfig } from '../../xds/gen/types.ts';
import { PlanError } from '../plan-error.ts';
import { withoutQuery } from '../query.ts';
import { compileStringMatcher } from '../string-matcher.ts';
import type { AuthzMatch } from './authz-view.ts';
import {
  type AuthzCompilation,
  addressMatch,
  allOf,
  always,
  anyOf,
  headerMatch,
  metadataMatch,
  pathMatch,
  portRangeMatch,
  sourcedMetadataMatch,
} from './matchers.ts';
import { compilePathTemplate } from './template-match.ts';

const TEMPLATE = 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig';

export const compilePermission = (p: Permission, compilation: AuthzCompilation, path: string): AuthzMatch => {
  if (p.and_rules !== undefined) return allOf(each(p.and_rules.rules, compilation, `${path}.and_rules.rules`));
  if (p.or_rules !== undefined) return anyOf(each(p.or_rules.rules, compilation, `${path}.or_rules.rules`));
  if (p.not_rule !== undefined) {
    const match = compilePermission(p.not_rule, compilation, `${path}.not_rule`);
    return (view) => !match(view);
  }
  if (p.any !== undefined) {
    if (!p.any) throw new PlanError(`${path}.any`, 'must be true');
    return always;
  }
  if (p.header !== undefined) return headerMatch(p.header, compilation, `${path}.header`);
  if (p.url_path !== undefined) return pathMatch(p.url_path, `${path}.url_path`);
  if (p.uri_template !== undefined) return templateMatch(p.uri_template, `${path}.uri_template`);
  if (p.metadata !== undefined) return metadataMatch(p.metadata, `${path}.metadata`);
  if (p.sourced_metadata !== undefined) return sourcedMetadataMatch(p.sourced_metadata, `${path}.sourced_metadata`);
  return compileConnectionPermission(p, compilation, path);
};

const compileConnectionPermission = (p: Permission, compilation: AuthzCompilation, path: string): AuthzMatch => {
  if (p.destination_ip !== undefined) return addressMatch(p.destination_ip, (v) => v.localIp, compilation, `${path}.destination_ip`);
  if (p.destination_port !== undefined) {
    const port = p.destination_port;
    if (port > 65_535) throw new PlanError(`${path}.destination_port`, `${port} is no port`);
    return (view) => view.localPort === port;
  }
  if (p.destination_port_range !== undefined) return portRangeMatch(p.destination_port_range, `${path}.destination_port_range`);
  if (p.requested_server_name !== undefined) {
    const match = compileStringMatcher(p.requested_server_name, `${path}.requested_server_name`);
    return (view) => match(view.sni);
  }
  // Extensions that ask for the upstream's address, which is known only when a dynamic forward proxy has looked it up.
  if (p.matcher !== undefined) throw new PlanError(`${path}.matcher`, `${p.matcher.name ?? ''} is not supported`);
  throw new PlanError(path, 'no rule is set');
};

const each = (rules: readonly Permission[] | undefined, compilation: AuthzCompilation, path: string): AuthzMatch[] => {
  if (rules === undefined || rules.length === 0) throw new PlanError(path, 'must not be empty');
  return rules.map((rule, i) => compilePermission(rule, compilation, `${path}[${i}]`));
};

const templateMatch = (extension: NonNullable<Permission['uri_template']>, path: string): AuthzMatch => {
  const config = extension.typed_config;
  if (config === undefined || !('@type' in config) || config['@type'] !== TEMPLATE)
    throw new PlanError(`${path}.typed_config`, `path matcher ${extension.name ?? ''} is not supported`);
  const { path_template: template = '' } = config as unknown as UriTemplateMatchConfig;
  const match = compilePathTemplate(template, `${path}.typed_config.path_template`);
  return ({ request }) => request !== undefined && match(withoutQuery(request.path));
};
