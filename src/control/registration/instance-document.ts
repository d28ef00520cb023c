// A registration as it comes over the admin API or from disk: every field checked, nothing guessed, unknown fields refused.
import { isIP } from 'node:net';
import { err, ok, type Result } from '../../base/result.ts';
import type { Instance, InstancePort } from '../../mesh/instance.ts';

const NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;
const FIELDS: ReadonlySet<string> = new Set([
  'name',
  'namespace',
  'workload',
  'address',
  'labels',
  'serviceAccount',
  'ports',
  'ready',
  'meshed',
  'locality',
]);
const PORTS_MAX = 256;
const LABELS_MAX = 256;

export const isResourceName = (value: unknown): value is string => typeof value === 'string' && NAME.test(value);

export const parseInstance = (namespace: string, name: string, body: unknown): Result<Instance, string> => {
  if (!isResourceName(namespace) || !isResourceName(name)) return err('namespace and name must be lower-case DNS names');
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return err('the body must be an object');
  const unknown = Object.keys(body).find((field) => !FIELDS.has(field));
  if (unknown !== undefined) return err(`unknown field ${JSON.stringify(unknown)}`);
  const {
    workload,
    address,
    labels = {},
    serviceAccount = 'default',
    ports = [],
    ready,
    meshed,
    locality,
  } = body as Record<string, unknown>;
  if (!isResourceName(workload)) return err('workload must be a lower-case DNS name');
  if (typeof address !== 'string' || isIP(address) === 0) return err('address must be an IP address');
  if (!isLabels(labels)) return err('labels must be an object of strings');
  if (!isResourceName(serviceAccount)) return err('serviceAccount must be a lower-case DNS name');
  if (typeof ready !== 'boolean') return err('ready must be true or false');
  if (typeof meshed !== 'boolean') return err('meshed must be true or false');
  if (locality !== undefined && typeof locality !== 'string') return err('locality must be a string');
  const parsedPorts = parsePorts(ports);
  if (!parsedPorts.ok) return parsedPorts;
  const instance = { name, namespace, workload, address, labels, serviceAccount, ports: parsedPorts.value, ready, meshed };
  return ok(locality === undefined ? instance : { ...instance, locality });
};

const isLabels = (value: unknown): value is Record<string, string> =>
  typeof value === 'object' &&
  value !== null &&
  !Array.isArray(value) &&
  Object.keys(value).length <= LABELS_MAX &&
  Object.values(value).every((v) => typeof v === 'string');

const parsePorts = (value: unknown): Result<readonly InstancePort[], string> => {
  if (!Array.isArray(value) || value.length > PORTS_MAX) return err('ports must be a list of {name, port}');
  const ports: InstancePort[] = [];
  for (const entry of value as readonly unknown[]) {
    const { name = '', port } = (typeof entry === 'object' && entry !== null ? entry : {}) as Record<string, unknown>;
    if (typeof name !== 'string' || typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65535) {
      return err('ports must be a list of {name, port} with ports from 1 to 65535');
    }
    ports.push({ name, port });
  }
  return ok(ports);
};
