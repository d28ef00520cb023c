// The admin API's window on the audit log: entries by filters, and whether the chain holds. Reading needs the role `write`: what is told of
// refused callers is not for everybody.
import { AdminError, type AdminRequest, type AdminRoute } from '../admin/http.ts';
import type { AuditLog } from './audit-log.ts';
import { auditFolder, verifySteps } from './chain-files.ts';
import { AUDIT_FILTERS, AUDIT_LIMIT_MAX, type AuditQuery, entrySteps } from './query.ts';

const LIMIT_DEFAULT = 100;

export const auditRoutes = (stateDir: string, log: AuditLog): readonly AdminRoute[] => {
  const folder = auditFolder(stateDir);
  return [
    {
      method: 'GET',
      pattern: '/v1/audit',
      handle: async (request) => {
        admit(request, log);
        return { status: 200, json: { entries: await inTurns(entrySteps(folder, queryOf(request), limitOf(request))) } };
      },
    },
    {
      method: 'GET',
      pattern: '/v1/audit/verify',
      handle: async (request) => {
        admit(request, log);
        return { status: 200, json: await inTurns(verifySteps(folder, new Map())) };
      },
    },
  ];
};

/** Others get their turn between two files. */
const inTurns = async <T>(steps: Generator<void, T>): Promise<T> => {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    await new Promise((resolve) => setImmediate(resolve));
  }
};

const admit = ({ by }: AdminRequest, log: AuditLog): void => {
  if (by.role !== 'write') throw new AdminError(403, 'FORBIDDEN', 'the token may read the mesh, and not who was refused');
  log.flush();
};

const queryOf = ({ url }: AdminRequest): AuditQuery =>
  Object.fromEntries(AUDIT_FILTERS.flatMap((field) => (url.searchParams.has(field) ? [[field, url.searchParams.get(field) ?? '']] : [])));

const limitOf = ({ url }: AdminRequest): number => {
  const limit = Number(url.searchParams.get('limit') ?? LIMIT_DEFAULT);
  if (!Number.isInteger(limit) || limit < 1 || limit > AUDIT_LIMIT_MAX)
    throw new AdminError(400, 'INVALID', `limit must be a number from 1 to ${AUDIT_LIMIT_MAX}`);
  return limit;
};
