// loadgen: a steady, bounded load on the shop. RATE requests a second until REQUESTS_MAX are done; then it rests.
import { call } from './json-client.ts';
import { serve } from './json-server.ts';

const TARGET = process.env['TARGET_URL'] ?? 'http://web:8080/';
const RATE = Math.min(1000, Math.max(0, Number(process.env['RATE'] ?? 2)));
const REQUESTS_MAX = Number(process.env['REQUESTS_MAX'] ?? 10_000);
const IN_FLIGHT_MAX = 50;
const REPORT_MS = 10_000;

const counts = { sent: 0, skipped: 0, ok: 0, failed: 0 };
let inFlight = 0;

const one = async (): Promise<void> => {
  inFlight++;
  counts.sent++;
  try {
    const answer = await call({ context: {} }, 'GET', TARGET);
    counts[answer.status < 500 ? 'ok' : 'failed']++;
  } catch {
    counts.failed++;
  }
  inFlight--;
};

serve({ 'GET /counts': () => ({ json: { ...counts, rate: RATE, target: TARGET } }) });

if (RATE > 0) {
  const timer = setInterval(() => {
    if (counts.sent >= REQUESTS_MAX) clearInterval(timer);
    else if (inFlight >= IN_FLIGHT_MAX) counts.skipped++;
    else void one();
  }, 1000 / RATE);
  setInterval(() => console.log(JSON.stringify(counts)), REPORT_MS);
}
