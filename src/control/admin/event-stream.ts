// Server-sent events of the admin API. A reader that does not keep up is cut off: it asks for the state anew.

import { EVENT_BACKLOG_BYTES_MAX, EVENT_CLIENTS_MAX } from '../limits.ts';
import type { EventHub } from './event-hub.ts';
import type { AdminReply } from './http.ts';
import { AdminError } from './http.ts';

/** A comment now and then tells both sides that the other is there. */
const HEARTBEAT_MS = 15_000;
const clients = new WeakMap<EventHub, { count: number }>();

export const eventStream = (events: EventHub): AdminReply => {
  const open = clients.get(events) ?? { count: 0 };
  clients.set(events, open);
  if (open.count >= EVENT_CLIENTS_MAX) throw new AdminError(503, 'BUSY', `${EVENT_CLIENTS_MAX} readers of events are connected already`);
  open.count += 1;
  return {
    stream: (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      const send = (text: string): void => {
        if (response.writableLength > EVENT_BACKLOG_BYTES_MAX) response.destroy();
        else response.write(text);
      };
      send(': connected\n\n');
      const unsubscribe = events.subscribe((event) => send(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`));
      const heartbeat = setInterval(() => send(':\n\n'), HEARTBEAT_MS);
      heartbeat.unref();
      let closed = false;
      const close = (): void => {
        if (closed) return;
        closed = true;
        open.count -= 1;
        clearInterval(heartbeat);
        unsubscribe();
      };
      response.on('close', close);
      response.on('error', close);
    },
  };
};
