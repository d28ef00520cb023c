// refund-service: gives the money back through payment-service.
import { call } from './json-client.ts';
import { identity, serve } from './json-server.ts';

const PAYMENT = process.env['PAYMENT_URL'] ?? 'http://payment-service:8080';

serve({
  'POST /api/v1/refunds': async (request) => {
    const answer = await call(request, 'POST', `${PAYMENT}/api/v1/refund`, request.body);
    return { status: answer.status, json: { payment: answer.body, from: identity } };
  },
});
