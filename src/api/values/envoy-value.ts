// A value that an EnvoyFilter gives in Envoy's own words, against Envoy's messages: wrong types and unknown message types are errors,
// fields that no message has a warning, as Istio judges them.

import { CodecError } from '../../xds/codec.ts';
import '../../xds/control-types.ts';
import { type Descriptor, descriptor } from '../../xds/descriptor.ts';
import { fromJsonNamed } from '../../xds/json.ts';
import { pruneJson } from '../../xds/prune-json.ts';
import type { Findings } from '../findings.ts';
import { splitPath } from '../reading/field-path.ts';

export const checkEnvoyValue = (type: string, value: unknown, path: string, findings: Findings): void => {
  const { json, unknownFields, unknownTypes } = pruneJson(type, value);
  for (const field of unknownFields) findings.warn(join(path, field), `no field of Envoy's message: it has no effect`);
  for (const unknown of unknownTypes) reportType(unknown.type, join(path, unknown.path), findings);
  if (unknownTypes.length > 0) return;
  if (reportErrors(type, json, path, findings) > 0) return;
  checkTypedConfig(type, json, path, findings);
};

/** More would be noise. */
const ERRORS_MAX = 20;

/** Every error: what was found wrong is taken out, and the rest read again. */
const reportErrors = (type: string, json: unknown, path: string, findings: Findings): number => {
  let rest = json;
  for (let errors = 0; ; errors++) {
    try {
      fromJsonNamed(type, rest);
      return errors;
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      const told = error.message.startsWith(`${error.path}: `) ? error.message.slice(error.path.length + 2) : error.message;
      findings.error(join(path, error.path), told);
      const steps = splitPath(error.path);
      if (errors + 1 === ERRORS_MAX || steps.length === 0) return errors + 1;
      rest = without(rest, steps);
    }
  }
};

const without = (value: unknown, [step, ...more]: readonly (string | number)[]): unknown => {
  if (Array.isArray(value)) return value.flatMap((v: unknown, i) => (i !== step ? [v] : more.length === 0 ? [] : [without(v, more)]));
  if (typeof value !== 'object' || value === null) return undefined;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, v]) => (key !== step ? [[key, v]] : more.length === 0 ? [] : [[key, without(v, more)]])),
  );
};

const join = (path: string, inner: string): string =>
  inner === '' ? path : inner.startsWith('[') ? `${path}${inner}` : `${path}.${inner}`;

/** Packages whose messages some Envoy knows although no table here does. */
const foreign = /^(?:envoy|xds|udpa|istio|io\.istio|google|opentelemetry)\./;

const reportType = (type: string, path: string, findings: Findings): void => {
  const name = JSON.stringify(type);
  if (/^envoy\..*\.v2(?:alpha\d*|beta\d*)?\./.test(type)) findings.error(path, `referenced type unknown: ${name}`, 'write the v3 message');
  else if (foreign.test(type)) findings.add('error', 'FIELD_NOT_SUPPORTED', path, `the message type ${name} is not compiled in`);
  else findings.error(path, `referenced type unknown: ${name}`);
};

/** An extension named without its configuration is found by name only, which Envoy is giving up. */
const checkTypedConfig = (type: string, value: unknown, path: string, findings: Findings): void => {
  const known: Descriptor | undefined = descriptor(type);
  if (!known || typeof value !== 'object' || value === null) return;
  const set = new Map(Object.entries(value).map(([key, inner]) => [known.byName.get(key), inner] as const));
  const has = (name: string): boolean => set.get(known.byName.get(name)) !== undefined;
  if (known.byName.has('typed_config') && !has('typed_config') && !(known.byName.has('config_discovery') && has('config_discovery')))
    findings.warn(path, 'an extension by name without typed_config is deprecated');
  for (const [key, inner] of Object.entries(value)) {
    const field = known.byName.get(key);
    if (field?.kind === 'message' && !field.repeated && !field.mapKey) checkTypedConfig(field.type, inner, `${path}.${key}`, findings);
  }
};
