// recommendation-service: what to show next. ml-v2 ranks the other way round.
import { identity, serve } from './json-server.ts';

const RANKED = ['tea', 'mug', 'pot'];

serve({
  'GET /api/v1/recommendations': ({ query }) => ({
    json: {
      user: Number(query.get('user') ?? 1),
      skus: identity.version === 'ml-v2' ? RANKED.toReversed() : RANKED,
      model: identity.version,
      from: identity,
    },
  }),
});
