// Which adapter judges which corpus file, or why none does.

import { authzBuilder } from './authz-builder.ts';
import { authzDecisions } from './authz-decisions.ts';
import { type Adapter, type LeftOut, leftOut } from './case.ts';
import { crdValidation } from './crd-validation.ts';
import { sidecarRoutes } from './sidecar-routes.ts';
import { simulation } from './simulation.ts';
import { authn } from './tables-authn.ts';
import { authzModel } from './tables-authz-model.ts';
import { configHost } from './tables-config-host.ts';
import { configLabels } from './tables-config-labels.ts';
import { configKube, configProtocol } from './tables-config-protocol.ts';
import { configSecurity } from './tables-config-security.ts';
import { istioctlValidate } from './tables-istioctl-validate.ts';
import { jwt } from './tables-jwt.ts';
import { coreLoadBalancer } from './tables-load-balancer.ts';
import { model } from './tables-model.ts';
import { networkingCore, networkingCoreRoute } from './tables-networking-core.ts';
import { networkingTelemetry } from './tables-networking-telemetry.ts';
import { networkingUtil } from './tables-networking-util.ts';
import { serviceEntryAddresses } from './tables-service-entry.ts';
import { trustDomain } from './tables-trust-domain.ts';
import { validation } from './validation.ts';

const conversion = leftOut('Gateway API and Ingress are converted by a later version');
const analysis = leftOut('the analyzers come with a later version');
const injection = leftOut('injection into Kubernetes comes with a later version');

export const corpora: Readonly<Record<string, Adapter | LeftOut>> = {
  'crd-validation.json': crdValidation,
  'validation.json': validation,
  'sidecar-routes.json': sidecarRoutes,
  'simulation.json': simulation,
  'authz-builder.json': authzBuilder,
  'authz-decisions.json': authzDecisions,
  'tables/pkg_config_host.json': configHost,
  'tables/pkg_config_labels.json': configLabels,
  'tables/pkg_config_kube.json': configKube,
  'tables/pkg_config_protocol.json': configProtocol,
  'tables/pkg_config_security.json': configSecurity,
  'tables/pkg_jwt.json': jwt,
  'tables/pilot_pkg_model.json': model,
  'tables/pilot_pkg_networking_core.json': networkingCore,
  'tables/pilot_pkg_networking_core_loadbalancer.json': coreLoadBalancer,
  'tables/pilot_pkg_networking_core_route.json': networkingCoreRoute,
  'tables/pilot_pkg_networking_telemetry.json': networkingTelemetry,
  'tables/pilot_pkg_networking_util.json': networkingUtil,
  'tables/pilot_pkg_security_authn.json': authn,
  'tables/pilot_pkg_security_authz_model.json': authzModel,
  'tables/pilot_pkg_security_trustdomain.json': trustDomain,
  'tables/pilot_pkg_serviceregistry_serviceentry.json': serviceEntryAddresses,
  'tables/istioctl_pkg_validate.json': istioctlValidate,
  'tables/pkg_bootstrap.json': leftOut('the names a sidecar in Kubernetes gives itself; injection comes with a later version'),
  'tables/pkg_kube_inject.json': injection,
  'injection.json': injection,
  'iptables.json': leftOut("redirection is programmed over netlink, not by iptables' commands; the rules are tested in test/agent"),
  'gateway-conversion.json': conversion,
  'gateway-conversion-fixture.json': conversion,
  'analyzers.json': analysis,
  'analysis-messages.json': analysis,
  'api-inventory.json': leftOut("the list of the API's fields, not cases"),
};
