// The text of a `date` header, made once a second.

import type { Clock } from '../clock.ts';

export const httpDate = (clock: Clock): (() => string) => {
  let madeAt = -1;
  let text = '';
  return () => {
    const second = Math.floor(clock.wallMs() / 1000);
    if (second !== madeAt) {
      madeAt = second;
      text = new Date(second * 1000).toUTCString();
    }
    return text;
  };
};
