// order-service: reserves stock, then charges; gives the stock back when the charge fails.
import { call } from './json-client.ts';
import { identity, refuse, serve } from './json-server.ts';

const PAYMENT = process.env['PAYMENT_URL'] ?? 'http://payment-service:8080';
const INVENTORY = process.env['INVENTORY_URL'] ?? 'http://inventory-service:8080';
const KEPT_MAX = 100;

const orders: object[] = [];
let placed = 0;

serve({
  'GET /api/v1/orders': () => ({ json: { placed, recent: orders.slice(-10), from: identity } }),
  'POST /api/v1/orders': async (request) => {
    const { sku, quantity, amount } = (request.body ?? {}) as { sku?: unknown; quantity?: unknown; amount?: unknown };
    if (typeof sku !== 'string') return refuse(400, 'sku is missing');
    const count = typeof quantity === 'number' && quantity > 0 ? Math.floor(quantity) : 1;
    const reserved = await call(request, 'POST', `${INVENTORY}/api/v1/reservations`, { sku, quantity: count });
    if (reserved.status >= 400)
      return { status: reserved.status, json: { error: 'not reserved', inventory: reserved.body, from: identity } };
    const paid = await call(request, 'POST', `${PAYMENT}/api/v1/charge`, { amount: typeof amount === 'number' ? amount : 10 });
    if (paid.status >= 400) {
      await call(request, 'POST', `${INVENTORY}/api/v1/returns`, { sku, quantity: count });
      return { status: paid.status, json: { error: 'not paid', payment: paid.body, from: identity } };
    }
    const order = { order: `${identity.instance}-${++placed}`, sku, quantity: count };
    orders.push(order);
    if (orders.length > KEPT_MAX) orders.shift();
    return { status: 201, json: { ...order, inventory: reserved.body, payment: paid.body, from: identity } };
  },
});
