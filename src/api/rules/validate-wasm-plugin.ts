// What Istio's webhook asks of a WasmPlugin and of a TrafficExtension.

import type { Findings } from '../findings.ts';
import { below, child, item } from '../reading/field-path.ts';
import type { TrafficExtension, WasmConfig, WasmPlugin } from '../specs.ts';
import { checkPort } from '../values/host-name.ts';
import type { Check } from './validate-context.ts';
import { checkTargets } from './validate-target-ref.ts';

const LUA_CHARACTERS_MAX = 65536;
const SECRET_NAME_MAX = 253;
const NAME_MAX = 256;

export const checkWasmPlugin: Check<WasmPlugin> = (spec, path, findings) => {
  checkTargets(spec, path, findings);
  checkModule(spec, path, findings);
  checkMatches(spec.match ?? [], path, findings);
};

export const checkTrafficExtension: Check<TrafficExtension> = (spec, path, findings) => {
  checkTargets(spec, path, findings);
  if (!spec.wasm === !spec.lua) findings.error(path, 'exactly one of wasm or lua must be set');
  if (spec.wasm) checkModule(spec.wasm, child(path, 'wasm'), findings);
  if (spec.lua) checkLua(spec.lua.inlineCode ?? '', below(path, 'lua.inlineCode'), findings);
  checkMatches(spec.match ?? [], path, findings);
};

const checkLua = (code: string, path: string, findings: Findings): void => {
  if (code === '') findings.error(path, 'inlineCode cannot be empty');
  if (code.length > LUA_CHARACTERS_MAX) findings.error(path, 'inlineCode exceeds maximum size of 64KB');
};

const checkModule = (spec: WasmConfig, path: string, findings: Findings): void => {
  findings.unless(child(path, 'url'), checkUrl(spec.url ?? ''));
  const { sha256 = '' } = spec;
  if (sha256 !== '' && sha256.length !== 64) findings.error(child(path, 'sha256'), 'sha256 must be 64 characters long');
  else if (!/^[a-f0-9]*$/.test(sha256)) findings.error(child(path, 'sha256'), 'sha256 must match [a-f0-9]{64}');
  if ((spec.imagePullSecret ?? '').length > SECRET_NAME_MAX)
    findings.error(child(path, 'imagePullSecret'), `imagePullSecret is longer than ${SECRET_NAME_MAX} characters`);
  if ((spec.pluginName ?? '').length > NAME_MAX)
    findings.error(child(path, 'pluginName'), `pluginName is longer than ${NAME_MAX} characters`);
  const names = new Set<string>();
  for (const [index, variable] of (spec.vmConfig?.env ?? []).entries()) {
    const at = item(below(path, 'vmConfig.env'), index);
    const { name = '', valueFrom = 'INLINE', value } = variable;
    if (name === '') findings.error(at, 'name of an environment variable may not be empty');
    if (name.length > NAME_MAX) findings.error(child(at, 'name'), `name is longer than ${NAME_MAX} characters`);
    if (names.has(name)) findings.error(child(at, 'name'), `duplicate environment variable ${name}`);
    names.add(name);
    if (valueFrom !== 'INLINE' && value !== undefined) findings.error(child(at, 'value'), 'value may only be set when valueFrom is INLINE');
  }
};

const schemes: ReadonlySet<string> = new Set(['', 'file', 'http', 'https', 'oci']);

/** An absolute URL, or one without its scheme (`registry/image:tag`), which then is an image's. */
const checkUrl = (text: string): string | undefined => {
  if (text === '') return 'url must be set';
  const parts = splitUrl(text) ?? splitUrl(`http://${text}`);
  if (!parts) return `${JSON.stringify(text)} is not a URL`;
  return schemes.has(parts.scheme) ? undefined : `url contains unsupported scheme: ${parts.scheme}`;
};

/** As strict as a request line: a scheme with an authority or a rooted path, no control characters, sound escapes, a numeric port. */
const splitUrl = (text: string): { readonly scheme: string } | undefined => {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (/[\u0000-\u001f\u007f]/.test(text) || /%(?![0-9A-Fa-f]{2})/.test(text)) return undefined;
  const found = /^(?:([A-Za-z][-A-Za-z0-9+.]*):)?(\/.*|[^/].*)$/.exec(text);
  if (!found) return undefined;
  const scheme = (found[1] ?? '').toLowerCase();
  const rest = found[2] ?? '';
  if (!rest.startsWith('/')) return scheme === '' || rest === '' ? undefined : { scheme };
  if (!rest.startsWith('//')) return { scheme };
  const authority = /^\/\/([^/?]*)/.exec(rest)?.[1] ?? '';
  const host = authority.slice(authority.lastIndexOf('@') + 1);
  return /^(?:\[[0-9A-Fa-f:.%]+\]|[^\s\\^`{|}[\]:#%]*)(?::\d*)?$/.test(host) ? { scheme } : undefined;
};

const checkMatches = (matches: NonNullable<WasmPlugin['match']>, path: string, findings: Findings): void => {
  for (const [index, match] of matches.entries()) {
    for (const [at, port] of (match.ports ?? []).entries())
      findings.unless(child(item(child(item(child(path, 'match'), index), 'ports'), at), 'number'), checkPort(port.number ?? 0));
    const numbers = (match.ports ?? []).map((port) => port.number);
    if (new Set(numbers).size < numbers.length) findings.error(child(item(child(path, 'match'), index), 'ports'), 'duplicate port number');
  }
};
