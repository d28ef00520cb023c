// That every refused row is refused: by the sidecar, given a resource or bootstrap that holds nothing but the way to the field, and by
// the decoder. Rows that compiling code refuses need a whole configuration: blanking.ts tries them in the cases'.
import { createLog } from '../../src/base/log.ts';
import { PlanError } from '../../src/plan/plan-error.ts';
import { loadBootstrap } from '../../src/proxy/bootstrap/load-bootstrap.ts';
import { createDataPlane, type DataPlane } from '../../src/proxy/data-plane.ts';
import { setResource } from '../../src/proxy/xds/apply.ts';
import { CodecError, decodeNamed, encodeNamed, TYPE_URL_PREFIX } from '../../src/xds/codec.ts';
import { descriptor, type Field } from '../../src/xds/descriptor.ts';
import { fromJsonNamed } from '../../src/xds/json.ts';
import { resourceType } from '../../src/xds/resource-types.ts';
import { type Message, sampleAlong } from './message-walk.ts';
import { RESOURCES, type Reached, type Row, reachable, type SupportTable } from './support-table.ts';

export interface Refusal {
  readonly row: Row;
  /** '' when it is refused as it should be. */
  readonly problem: string;
}

/** Of every refused row but those that code refuses. */
export const refusals = async (table: SupportTable): Promise<Refusal[]> => {
  const plane = createDataPlane({
    log: createLog(
      'fields',
      () => undefined,
      () => new Date(0),
    ),
  });
  const out = new Map<Row, string>();
  try {
    for (const at of reachable(table))
      for (const field of descriptor(at.message)?.fields ?? []) {
        const row = table.row(at.message, at.place, field.name);
        if (row?.class !== 'refused' || row.words === 'code' || out.get(row) === '') continue;
        out.set(row, row.words === 'decoder' ? decodes(at, field) : await takes(at, field, plane));
      }
  } finally {
    await plane.close();
  }
  return [...out].map(([row, problem]) => ({ row, problem }));
};

const names = (path: string, field: string): boolean => path === field || path.endsWith(`.${field}`);

const decodes = (at: Reached, field: Field): string => {
  const message = { [field.name]: sampleAlong([], field)[field.name] };
  for (const decode of [
    () => decodeNamed(at.message, encodeNamed(at.message, message)),
    () => fromJsonNamed(at.message, field.type === 'bytes' ? { [field.name]: 'AQ==' } : message),
  ]) {
    try {
      decode();
      return 'is decoded';
    } catch (e) {
      if (!(e instanceof CodecError) || !names(e.path, field.name)) return `is not what the decoder minds: ${String(e)}`;
    }
  }
  return '';
};

const takes = async (at: Reached, field: Field, plane: DataPlane): Promise<string> => {
  const { type, message } = RESOURCES.includes(at.root)
    ? { type: at.root, message: sampleAlong(at.fields, field) }
    : wrapped(at.root, sampleAlong(at.fields, field));
  try {
    const resource = resourceType(TYPE_URL_PREFIX + type);
    if (resource === undefined) await loadBootstrap(JSON.stringify(message));
    else setResource(resource, message, plane);
    return 'is taken';
  } catch (e) {
    const path = e instanceof PlanError ? e.path : e instanceof Error ? e.message.split(': ')[0] : '';
    return names(path ?? '', field.name) ? '' : `is not what is minded: ${String(e)}`;
  }
};

/** An extension's configuration in a cluster, where any will do: what is refused by name is seen before what does not fit. */
const wrapped = (type: string, message: Message): { type: string; message: Message } => ({
  type: 'envoy.config.cluster.v3.Cluster',
  message: { name: 'any', typed_extension_protocol_options: { any: { '@type': TYPE_URL_PREFIX + type, ...message } } },
});
