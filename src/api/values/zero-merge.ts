// Zeros in a patch that is merged: protobuf cannot tell them from absent values, so they never take the place of anything, neither here nor
// in Istio. Inside lists and maps values are added whole, so nothing is said of them.

import '../../xds/control-types.ts';
import { isWrapper, JSON_VALUED, typeOfUrl } from '../../xds/codec.ts';
import { descriptor, enumDescriptor, type Field } from '../../xds/descriptor.ts';
import type { Findings } from '../findings.ts';
import { child } from '../reading/field-path.ts';

type Raw = Readonly<Record<string, unknown>>;
const isRaw = (v: unknown): v is Raw => typeof v === 'object' && v !== null && !Array.isArray(v);

/** `type`: of the message that the value is a part of. */
export const warnZeros = (type: string, value: unknown, path: string, findings: Findings): void => {
  const known = descriptor(type);
  if (known === undefined || !isRaw(value)) return;
  for (const [key, inner] of Object.entries(value)) {
    const field = known.byName.get(key);
    if (field === undefined || field.repeated || field.mapKey !== undefined) continue;
    const at = child(path, key);
    if (field.type === 'google.protobuf.Any') warnInside(inner, at, findings);
    else if (isPlain(field) && isZero(field, inner))
      findings.warn(
        at,
        `to merge ${JSON.stringify(inner)} changes nothing where a value stands already`,
        'protobuf takes it for absent: write the whole object with REPLACE, or REMOVE and ADD',
      );
    else if (field.kind === 'message' && !field.type.startsWith('google.protobuf.')) warnZeros(field.type, inner, at, findings);
  }
};

const warnInside = (any: unknown, path: string, findings: Findings): void => {
  const url = isRaw(any) ? any['@type'] : undefined;
  if (typeof url !== 'string' || JSON_VALUED.has(typeOfUrl(url))) return;
  warnZeros(typeOfUrl(url), any, path, findings);
};

const isPlain = (field: Field): boolean => (field.kind === 'message' ? isWrapper(field.type) : !field.optional && field.oneof < 0);

const isZero = (field: Field, value: unknown): boolean =>
  value === 0 || value === false || value === '' || (field.kind === 'enum' && enumDescriptor(field.type).byName.get(String(value)) === 0);
