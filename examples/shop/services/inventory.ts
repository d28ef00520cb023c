// inventory-service: what is on the shelves, kept in the stock store.
import { identity, refuse, serve } from './json-server.ts';
import { StockClient } from './stock-client.ts';

const stock = new StockClient(process.env['STOCK_HOST'] ?? 'stock', Number(process.env['STOCK_PORT'] ?? 6379));
const SKUS = ['tea', 'mug', 'pot'];

const line = (body: unknown): { sku: string; quantity: number } => {
  const { sku, quantity } = (body ?? {}) as { sku?: unknown; quantity?: unknown };
  if (typeof sku !== 'string' || !SKUS.includes(sku)) return refuse(404, 'no such sku');
  if (typeof quantity !== 'number' || !Number.isInteger(quantity) || quantity < 1) return refuse(400, 'quantity is a whole number above 0');
  return { sku, quantity };
};

serve({
  'GET /api/v1/stock': async () => {
    const counts = (await stock.command('MGET', ...SKUS.map((sku) => `stock:${sku}`))) as readonly (string | null)[];
    return { json: { stock: Object.fromEntries(SKUS.map((sku, i) => [sku, Number(counts[i] ?? 0)])), from: identity } };
  },
  'POST /api/v1/reservations': async ({ body }) => {
    const { sku, quantity } = line(body);
    const left = Number(await stock.command('DECRBY', `stock:${sku}`, String(quantity)));
    if (left < 0) {
      await stock.command('INCRBY', `stock:${sku}`, String(quantity));
      return { status: 409, json: { error: 'sold out', sku, from: identity } };
    }
    return { json: { sku, quantity, left, from: identity } };
  },
  'POST /api/v1/returns': async ({ body }) => {
    const { sku, quantity } = line(body);
    const left = Number(await stock.command('INCRBY', `stock:${sku}`, String(quantity)));
    return { json: { sku, quantity, left, from: identity } };
  },
});
