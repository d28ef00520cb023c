// Who asks the admin API, and what they may: whoever can open the Unix socket is its owner and may do everything; on a TCP port a token
// says the role, reading for `read`, changing for `write` alone. Peers that guess are slowed down.
import { type AdminCaller, type AdminDoor, AdminError } from '../admin/http.ts';
import type { ControlMetrics } from '../metric-registry.ts';
import type { AccessTokens } from './access-tokens.ts';
import { Attempts, LOGIN_LIMIT, peerKey } from './attempts.ts';

export const OWNER: AdminCaller = { role: 'write', who: 'local user', from: '' };

export const tokenDoor = (tokens: AccessTokens, metrics: ControlMetrics, now: () => number): AdminDoor => {
  const attempts = new Attempts(LOGIN_LIMIT, now);
  return (request) => {
    const from = request.socket.remoteAddress ?? '';
    const peer = peerKey(from);
    const [, token = ''] = /^bearer\s+(\S+)$/i.exec(request.headers.authorization ?? '') ?? [];
    // A right token is let in however many wrong ones its peer has sent: nobody guesses one.
    const holder = tokens.holder(token);
    if (holder) return { role: holder.role, who: `token ${holder.id}`, from };
    metrics.count('skein_admin_logins_refused');
    if (!attempts.take(peer)) throw new AdminError(429, 'TOO_MANY', 'too many tokens of this peer were wrong: try later');
    throw new AdminError(401, 'UNAUTHENTICATED', 'the admin API needs a token here: skein token create --role read|write');
  };
};
