// user-service: who is shopping.
import { identity, refuse, serve } from './json-server.ts';

const USERS = [
  { id: 1, name: 'Ada', country: 'GB' },
  { id: 2, name: 'Grace', country: 'US' },
  { id: 3, name: 'Edsger', country: 'NL' },
];

serve({
  'GET /api/v1/users': ({ query }) => {
    const id = query.get('id');
    if (id === null) return { json: { users: USERS, from: identity } };
    const user = USERS.find((u) => u.id === Number(id)) ?? refuse(404, `no user ${id}`);
    return { json: { user, from: identity } };
  },
});
