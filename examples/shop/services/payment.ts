// payment-service: charges and refunds. v2 also returns a fee.
import { identity, refuse, serve } from './json-server.ts';

let charges = 0;
let refunds = 0;

const amountOf = (body: unknown): number => {
  const amount = (body as { amount?: unknown } | undefined)?.amount;
  return typeof amount === 'number' && amount > 0 && Number.isFinite(amount) ? amount : refuse(400, 'amount is a number above 0');
};
const fee = (amount: number): object => (identity.version === 'v2' ? { fee: Math.round(amount * 2) / 100 } : {});

serve({
  'POST /api/v1/charge': ({ body }) => {
    const amount = amountOf(body);
    charges++;
    return { json: { charge: `${identity.instance}-c${charges}`, amount, ...fee(amount), from: identity } };
  },
  'POST /api/v1/refund': ({ body }) => {
    const amount = amountOf(body);
    refunds++;
    return { json: { refund: `${identity.instance}-r${refunds}`, amount, from: identity } };
  },
});
