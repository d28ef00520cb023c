// web: the shop's page. Every view shows the catalogue, buys one tea and gives it back, and says who answered.
import { ask } from './json-client.ts';
import { identity, serve } from './json-server.ts';

const API = process.env['API_URL'] ?? 'http://api-gateway:8080';

const escapeHtml = (text: string): string =>
  text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c] ?? c);

interface Seen {
  readonly service: string;
  readonly version: string;
  readonly instance: string;
}

/** Every `from` in the answers, in the order met: which service, version and instance took part. */
const participants = (value: unknown, into: Seen[] = []): Seen[] => {
  if (Array.isArray(value)) for (const item of value) participants(item, into);
  else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      if (key === 'from') into.push(item as Seen);
      else participants(item, into);
    }
  }
  return into;
};

const page = (view: unknown): string => {
  const seen = [identity, ...participants(view)];
  const unique = [...new Map(seen.map((s) => [s.instance, s])).values()].sort((a, b) => a.service.localeCompare(b.service));
  const rows = unique.map(
    (s) => `<tr><td>${escapeHtml(s.service)}</td><td>${escapeHtml(s.version)}</td><td>${escapeHtml(s.instance)}</td></tr>`,
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>The shop</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.35rem .6rem;text-align:left}
pre{background:#f6f6f4;padding:1rem;overflow:auto;font-size:13px}</style></head>
<body><h1>The shop</h1>
<h2>Who answered</h2>
<table><tr><th>service</th><th>version</th><th>instance</th></tr>
${rows.join('\n')}
</table>
<h2>What they said</h2>
<pre>${escapeHtml(JSON.stringify(view, null, 2))}</pre>
</body></html>
`;
};

serve({
  'GET /': async (request) => {
    const home = await ask(request, 'GET', `${API}/api/v1/home?user=${encodeURIComponent(request.query.get('user') ?? '1')}`);
    const order = await ask(request, 'POST', `${API}/api/v1/orders`, { sku: 'tea', quantity: 1, amount: 4.5 });
    const refund = await ask(request, 'POST', `${API}/api/v1/refunds`, { amount: 4.5 });
    return { html: page({ home, order, refund }) };
  },
});
