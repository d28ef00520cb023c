// A TCP health check: the connection stands, and where that is asked for, what comes back holds what it should.

import type { Socket } from 'node:net';
import { writeProxyV1, writeProxyV2 } from '../../wire/proxy-protocol.ts';
import { holds, type TcpQuestion } from './health-plan.ts';
import type { Finding, Probe } from './probe.ts';

/** What a host may say before it says what is waited for. */
const ANSWER_BYTES_MAX = 64 * 1024;

export class TcpProbe implements Probe {
  readonly #question: TcpQuestion;
  readonly #connect: () => Socket;
  readonly #connected: 'connect' | 'secureConnect';
  readonly #reuse: boolean;
  #socket: Socket | undefined;
  #stands = false;
  #heard = Buffer.alloc(0);
  #done: ((finding: Finding) => void) | undefined;

  constructor(question: TcpQuestion, tls: boolean, reuse: boolean, connect: () => Socket) {
    this.#question = question;
    this.#connected = tls ? 'secureConnect' : 'connect';
    this.#reuse = reuse;
    this.#connect = connect;
  }

  ask(done: (finding: Finding) => void): void {
    this.#done = done;
    this.#heard = Buffer.alloc(0);
    if (this.#socket === undefined) this.#open();
    else this.#send();
  }

  cancel(): void {
    this.#done = undefined;
    this.close();
  }

  close(): void {
    this.#done = undefined;
    const socket = this.#socket;
    this.#socket = undefined;
    this.#stands = false;
    socket?.destroy();
  }

  #open(): void {
    const socket = this.#connect();
    this.#socket = socket;
    socket.on(this.#connected, () => {
      if (this.#socket !== socket) return;
      this.#stands = true;
      const version = this.#question.proxyProtocol;
      if (version !== undefined) socket.write(version === 'V2' ? writeProxyV2(undefined, []) : writeProxyV1(undefined));
      this.#send();
    });
    socket.on('data', (bytes: Buffer) => {
      if (this.#socket === socket) this.#data(bytes);
    });
    const gone = () => {
      if (this.#socket === socket) this.#gone();
    };
    socket.on('end', gone);
    socket.on('close', gone);
    socket.on('error', gone);
  }

  #send(): void {
    const { send, receive } = this.#question;
    if (send !== undefined && send.length > 0) this.#socket?.write(send);
    if (receive.length === 0 && this.#stands) this.#finish({ kind: 'healthy' });
  }

  #data(bytes: Buffer): void {
    if (this.#done === undefined) return;
    this.#heard = Buffer.concat([this.#heard, bytes]);
    if (holds(this.#heard, this.#question.receive)) this.#finish({ kind: 'healthy' });
    else if (this.#heard.length > ANSWER_BYTES_MAX) this.#gone();
  }

  #gone(): void {
    const done = this.#done;
    this.close();
    done?.({ kind: 'network' });
  }

  #finish(finding: Finding): void {
    const done = this.#done;
    this.#done = undefined;
    this.#heard = Buffer.alloc(0);
    // A connection that only stands tells nothing the next time: it is made anew.
    if (!this.#reuse || this.#question.receive.length === 0) this.close();
    done?.(finding);
  }
}
