// The fields of Istio's extension messages (extensions v1alpha1). Facts only: what they mean is checked elsewhere.

import { enumeration, int32, list, message, string, struct, uint32 } from './schema.ts';
import { policyTargetReference, workloadSelector } from './selector.ts';

export const pluginType = enumeration(['UNSPECIFIED_PLUGIN_TYPE', 'HTTP', 'NETWORK']);
export const pullPolicy = enumeration(['UNSPECIFIED_POLICY', 'IfNotPresent', 'Always']);
export const failStrategy = enumeration(['FAIL_CLOSE', 'FAIL_OPEN', 'FAIL_RELOAD']);
export const trafficMode = enumeration(['UNDEFINED', 'CLIENT', 'SERVER', 'CLIENT_AND_SERVER']);

export const pluginPhase = enumeration(['UNSPECIFIED_PHASE', 'AUTHN', 'AUTHZ', 'STATS']);
export const executionPhase = enumeration(['UNSPECIFIED', 'AUTHN', 'AUTHZ', 'STATS']);

export const portSelector = message(
  'PortSelector',
  { number: uint32 },
  { required: ['number'], limits: { number: { minimum: 1, maximum: 65535 } } },
);

export const trafficSelector = message('TrafficSelector', { mode: trafficMode, ports: list(portSelector) });

export const envVar = message(
  'EnvVar',
  { name: string, valueFrom: enumeration(['INLINE', 'HOST']), value: string },
  { required: ['name'], limits: { name: { minLength: 1, maxLength: 256 }, value: { maxLength: 2048 } } },
);

export const vmConfig = message('VmConfig', { env: list(envVar) }, { limits: { env: { maxItems: 256 } } });

const module = {
  url: string,
  sha256: string,
  imagePullPolicy: pullPolicy,
  imagePullSecret: string,
  verificationKey: string,
  pluginConfig: struct,
  pluginName: string,
  failStrategy: failStrategy,
  vmConfig: vmConfig,
  type: pluginType,
};

const moduleLimits = {
  url: { minLength: 1 },
  sha256: { pattern: '(^$|^[a-f0-9]{64}$)' },
  imagePullSecret: { minLength: 1, maxLength: 253 },
  pluginName: { minLength: 1, maxLength: 256 },
};

export const wasmPlugin = message(
  'WasmPlugin',
  {
    selector: workloadSelector,
    targetRef: policyTargetReference,
    targetRefs: list(policyTargetReference),
    ...module,
    phase: pluginPhase,
    priority: int32,
    match: list(trafficSelector),
  },
  { required: ['url'], limits: { targetRefs: { maxItems: 16 }, ...moduleLimits } },
);

export const wasmConfig = message('WasmConfig', module, { required: ['url'], limits: moduleLimits });

export const luaConfig = message(
  'LuaConfig',
  { inlineCode: string },
  { required: ['inlineCode'], limits: { inlineCode: { minLength: 1, maxLength: 65536 } } },
);

export const trafficExtension = message(
  'TrafficExtension',
  {
    selector: workloadSelector,
    targetRefs: list(policyTargetReference),
    phase: executionPhase,
    priority: int32,
    match: list(trafficSelector),
    wasm: wasmConfig,
    lua: luaConfig,
  },
  { oneofs: [['wasm', 'lua']], limits: { targetRefs: { maxItems: 16 } } },
);
