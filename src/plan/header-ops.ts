// Header mutations of routes: removals, then overwrites, then additions of one level, level after level. Values are
// literals or texts with operators; a value that comes out empty is not set unless asked for.
import type { HeaderBlock } from '../wire/header-block.ts';
import type { HeaderValueOption } from '../xds/gen/types.ts';
import { compileFormatText } from './format-text.ts';
import { isJoined } from './joined-headers.ts';
import { PlanError } from './plan-error.ts';
import type { StreamInfo } from './stream-info.ts';

/** Header mutations of one level (route configuration, virtual host, route or weight), compiled. */
export interface HeaderOps {
  readonly removes: readonly string[];
  /** Overwrites first, additions behind them. */
  readonly writes: readonly HeaderWrite[];
  /** Room for the values of one use, where a write could change what another reads. */
  readonly values: (string | undefined)[] | undefined;
}
interface HeaderWrite {
  readonly name: string;
  readonly action: 'append' | 'add-if-absent' | 'overwrite' | 'overwrite-if-exists';
  readonly keepEmpty: boolean;
  /** What is added stands in the line that is there. */
  readonly joined: boolean;
  readonly literal: boolean;
  readonly value: (info: StreamInfo, req?: HeaderBlock, resp?: HeaderBlock) => string;
}
export interface HeaderOpsConfig {
  readonly add: readonly HeaderValueOption[] | undefined;
  readonly remove: readonly string[] | undefined;
}

/** Undefined when there is nothing to do. `path` is the parent's, `side` names the fields in refusals. */
export const compileHeaderOps = (config: HeaderOpsConfig, path: string, side: 'request' | 'response'): HeaderOps | undefined => {
  const removes = (config.remove ?? []).map((name, i) => headerName(name, `${at(path)}${side}_headers_to_remove[${i}]`));
  const writes = (config.add ?? []).map((option, i) => compileWrite(option, `${at(path)}${side}_headers_to_add[${i}]`, side));
  if (removes.length === 0 && writes.length === 0) return undefined;
  const overwrites = writes.filter((w) => w.action.startsWith('overwrite'));
  const reads = writes.length > 1 && writes.some((w) => !w.literal || w.action === 'add-if-absent' || w.action === 'overwrite-if-exists');
  return {
    removes,
    writes: [...overwrites, ...writes.filter((w) => !w.action.startsWith('overwrite'))],
    values: reads ? writes.map(() => undefined) : undefined,
  };
};

const at = (path: string): string => (path === '' ? '' : `${path}.`);

const ACTIONS: Readonly<Record<string, HeaderWrite['action']>> = {
  APPEND_IF_EXISTS_OR_ADD: 'append',
  ADD_IF_ABSENT: 'add-if-absent',
  OVERWRITE_IF_EXISTS_OR_ADD: 'overwrite',
  OVERWRITE_IF_EXISTS: 'overwrite-if-exists',
};

const compileWrite = (option: HeaderValueOption, path: string, side: 'request' | 'response'): HeaderWrite => {
  const name = headerName(option.header?.key ?? '', `${path}.header.key`);
  const action = option.append_action === undefined ? (option.append === false ? 'overwrite' : 'append') : ACTIONS[option.append_action];
  if (action === undefined) throw new PlanError(`${path}.append_action`, `${option.append_action} is not known`);
  return { name, action, joined: isJoined(name, side), keepEmpty: option.keep_empty_value === true, ...compileValue(option, path) };
};

const compileValue = (option: HeaderValueOption, path: string): Pick<HeaderWrite, 'literal' | 'value'> => {
  const raw = option.header?.raw_value;
  const format = option.header?.value ?? (raw === undefined ? '' : Buffer.from(raw).toString('utf8'));
  if (/[\0\r\n]/.test(format)) throw new PlanError(`${path}.header.value`, 'must not hold line breaks or NUL');
  // Literals become bytes, one per character, as header blocks keep them.
  const pieces = compileFormatText(format, `${path}.header.value`).map((p) =>
    typeof p === 'string' ? Buffer.from(p).toString('latin1') : p,
  );
  if (pieces.every((p) => typeof p === 'string')) {
    const literal = pieces.join('');
    return { literal: true, value: () => literal };
  }
  const value: HeaderWrite['value'] = (info, req, resp) => {
    let out = '';
    for (const piece of pieces) {
      if (typeof piece === 'string') out += piece;
      else {
        // A header has no `-` for what is missing.
        const part = piece(info, req, resp);
        if (part !== undefined && part !== null) out += typeof part === 'object' ? JSON.stringify(part) : String(part);
      }
    }
    return out;
  };
  return { literal: false, value };
};

const headerName = (raw: string, path: string): string => {
  const name = raw.toLowerCase();
  if (!/^:?[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name)) throw new PlanError(path, `"${raw}" is not a header name`);
  if (name.startsWith(':') || name === 'host') throw new PlanError(path, ':-prefixed or host headers may not be modified');
  return name;
};

/** Applies the levels in the given order. `target` is changed; `req` and `resp` are read by %REQ()% and %RESP()%. */
export const applyHeaderOps = (
  levels: readonly HeaderOps[],
  target: HeaderBlock,
  info: StreamInfo,
  req?: HeaderBlock,
  resp?: HeaderBlock,
): void => {
  for (const ops of levels) {
    for (const name of ops.removes) target.remove(name);
    const { writes, values } = ops;
    // Conditions and values see the block as the level found it.
    if (values !== undefined) for (let i = 0; i < writes.length; i++) values[i] = wanted(writes[i], target, info, req, resp);
    for (let i = 0; i < writes.length; i++) {
      const write = writes[i];
      const value = values === undefined ? wanted(write, target, info, req, resp) : values[i];
      if (write === undefined || value === undefined) continue;
      if (write.action === 'overwrite' || write.action === 'overwrite-if-exists') target.set(write.name, value);
      else if (write.joined && target.has(write.name)) target.set(write.name, `${target.values(write.name).join(',')},${value}`);
      else target.add(write.name, value);
    }
  }
};

/** undefined: nothing is to be written. */
const wanted = (
  write: HeaderWrite | undefined,
  target: HeaderBlock,
  info: StreamInfo,
  req?: HeaderBlock,
  resp?: HeaderBlock,
): string | undefined => {
  if (write === undefined) return undefined;
  if (write.action === 'add-if-absent' && target.has(write.name)) return undefined;
  if (write.action === 'overwrite-if-exists' && !target.has(write.name)) return undefined;
  const value = write.value(info, req, resp);
  return value === '' && !write.keepEmpty ? undefined : value;
};
