// The hash policy value of a request. Until ring hash and maglev are built nothing asks for it.

import type { RequestView } from '../plan/request-view.ts';
import type { HashPolicyPlan } from '../plan/route.ts';

export const requestHash = (_policies: readonly HashPolicyPlan[], _request: RequestView): bigint | undefined => undefined;
