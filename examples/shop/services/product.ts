// product-service: the catalogue. v2 shows prices with tax.
import { identity, serve } from './json-server.ts';

const TAX = identity.version === 'v2' ? 1.2 : 1;
const PRODUCTS = [
  { sku: 'tea', title: 'Green tea', price: 4.5 },
  { sku: 'mug', title: 'Blue mug', price: 9 },
  { sku: 'pot', title: 'Cast iron pot', price: 39 },
];

serve({
  'GET /api/v1/products': () => ({
    json: { products: PRODUCTS.map((p) => ({ ...p, price: Math.round(p.price * TAX * 100) / 100 })), from: identity },
  }),
});
