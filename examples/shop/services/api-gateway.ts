// api-gateway: the one address that pages and apps call.
import { ask, call } from './json-client.ts';
import { identity, serve } from './json-server.ts';

const url = (service: string): string => process.env[`${service.toUpperCase().replace('-', '_')}_URL`] ?? `http://${service}:8080`;

serve({
  'GET /api/v1/home': async (request) => {
    const user = request.query.get('user') ?? '1';
    const [users, products, recommendations, inventory, orders] = await Promise.all([
      ask(request, 'GET', `${url('user-service')}/api/v1/users?id=${encodeURIComponent(user)}`),
      ask(request, 'GET', `${url('product-service')}/api/v1/products`),
      ask(request, 'GET', `${url('recommendation-service')}/api/v1/recommendations?user=${encodeURIComponent(user)}`),
      ask(request, 'GET', `${url('inventory-service')}/api/v1/stock`),
      ask(request, 'GET', `${url('order-service')}/api/v1/orders`),
    ]);
    return { json: { users, products, recommendations, inventory, orders, from: identity } };
  },
  'POST /api/v1/orders': async (request) => {
    const answer = await call(request, 'POST', `${url('order-service')}/api/v1/orders`, request.body);
    return { status: answer.status, json: { order: answer.body, from: identity } };
  },
  'POST /api/v1/refunds': async (request) => {
    const answer = await call(request, 'POST', `${url('refund-service')}/api/v1/refunds`, request.body);
    return { status: answer.status, json: { refund: answer.body, from: identity } };
  },
});
