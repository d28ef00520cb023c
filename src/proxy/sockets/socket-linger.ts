// The end of a socket whose peer may be slow: what is written still leaves, but a peer that has stopped reading does not keep it.

import type { Socket } from 'node:net';
import { type TimerWheel, WheelTimer } from '../timer-wheel.ts';

/** Closes once everything is written, at the latest after `lingerMs`. */
export const closeSoon = (wheel: TimerWheel, socket: Socket, lingerMs: number): void => {
  socket.destroySoon();
  if (socket.destroyed) return;
  const timer = new WheelTimer({ onTimer: () => socket.destroy() }, 0);
  wheel.arm(timer, lingerMs);
  socket.once('close', () => wheel.drop(timer));
};
