// The receiving half of an HTTP/2 connection: what each frame means in the state of its stream (RFC 9113 5 and 6), as
// calls of the owner. Errors of a stream are answered by RST_STREAM, errors of the connection end it.
import { HeaderBlock } from './header-block.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import { Http2Endings } from './http2-endings.ts';
import {
  F_ACK,
  H2,
  HEADER_TABLE_DEFAULT,
  MAX_CONCURRENT_DEFAULT,
  T_CONTINUATION,
  T_GOAWAY,
  T_HEADERS,
  T_PING,
  T_PRIORITY,
  T_PUSH_PROMISE,
  T_RST_STREAM,
  T_SETTINGS,
  T_WINDOW_UPDATE,
  WINDOW_MAX,
} from './http2-frame.ts';
import type { Http2Guard } from './http2-guard.ts';
import { BAD_MESSAGE, DISCARD, FINE, given, HeadCollector, REQUEST, RESPONSE, TRAILERS } from './http2-head.ts';
import { BLOCK_FLOOD, BLOCK_SHORT, BLOCK_WHOLE, HeadBlock } from './http2-head-block.ts';
import type { Http2Options, Http2Owner } from './http2-owner.ts';
import { FrameReader, type FrameSink } from './http2-reader.ts';
import { ReceiveWindow } from './http2-receive-window.ts';
import type { Http2Sender } from './http2-sender.ts';
import { frameMax, PeerSettings, tableSize } from './http2-settings.ts';
import { CLOSED, HEAD_SEEN, HEAD_SENT, type Http2Stream, REMOTE_DONE } from './http2-stream.ts';
import type { Http2Streams } from './http2-streams.ts';
import { HEAD_BYTES_MAX } from './limits.ts';

/** Frames waiting below which the limits on them need no look. */
const FEW_FRAMES = 100;
/** Envoy's detail for a body that is not as long as was said. */
const WRONG_LENGTH = 'http2.remote_reset';

export class Http2Receiver implements FrameSink {
  readonly peer = new PeerSettings();
  readonly window: ReceiveWindow;
  readonly endings: Http2Endings;
  /** The peer sent GOAWAY. */
  peerGone = false;
  settingsSeen = false;
  pingWaits = false;
  pingNumber = 0;
  readonly #client: boolean;
  readonly #owner: Http2Owner;
  readonly #streams: Http2Streams;
  readonly #sender: Http2Sender;
  readonly #guard: Http2Guard;
  readonly #reader: FrameReader;
  readonly #decoder: HpackDecoder;
  readonly #head: HeadCollector;
  readonly #block: HeadBlock;
  readonly #streamLimit: number;
  /** Announced; until the peer acknowledges it, the RFC's holds when that is larger. */
  readonly #tableSize: number;
  /** Of the DATA frame being read; its object may have been released and serve another id. */
  #dataStream: Http2Stream | undefined;
  #dataId = 0;

  constructor(client: boolean, owner: Http2Owner, options: Http2Options, streams: Http2Streams, sender: Http2Sender, guard: Http2Guard) {
    this.#client = client;
    this.#owner = owner;
    this.#streams = streams;
    this.#sender = sender;
    this.#guard = guard;
    this.window = new ReceiveWindow(options, sender.outbox);
    this.endings = new Http2Endings(client, owner, streams, sender, guard, this.window, options.streamErrorOnInvalidMessage === true);
    this.#tableSize = tableSize(options);
    this.#reader = new FrameReader(this, !client, frameMax(options));
    this.#decoder = new HpackDecoder(Math.max(HEADER_TABLE_DEFAULT, this.#tableSize));
    const headBytes = options.maxHeadBytes ?? HEAD_BYTES_MAX;
    this.#head = new HeadCollector(client, headBytes, options);
    this.#block = new HeadBlock(headBytes);
    this.#streamLimit = options.maxConcurrentStreams ?? MAX_CONCURRENT_DEFAULT;
  }

  execute(buf: Buffer, start: number, end: number): void {
    if (!this.dead) this.#reader.execute(buf, start, end);
  }

  /** No stream is left. */
  trim(): void {
    this.#head.trim();
  }

  get dead(): boolean {
    return this.endings.dead;
  }

  /** Server: the stream a client has begun to open, its head not whole yet; 0 none. */
  get unreadHead(): number {
    const id = this.#reader.headStream;
    return id > this.#streams.lastPeerId && (id & 1) === 1 && !this.#client && !this.#ignored(id) && !this.dead ? id : 0;
  }

  // --- FrameSink ---

  broken(code: number, message: string): void {
    this.endings.fail(code, message);
  }

  frameHead(type: number, flags: number, _id: number, length: number): boolean {
    const flood = this.#guard.inbound(type, flags, length);
    if (flood !== '') this.endings.flood(flood);
    return !this.dead;
  }

  frame(type: number, flags: number, id: number, buf: Buffer, start: number, end: number): void {
    switch (type) {
      case T_HEADERS:
        this.#headers(flags, id, buf, start, end);
        break;
      case T_CONTINUATION:
        this.#gathered(this.#block.continuation(flags, buf, start, end));
        break;
      case T_WINDOW_UPDATE:
        this.#windowUpdate(id, buf, start, end);
        break;
      case T_RST_STREAM:
        this.#rstStream(id, buf, start, end);
        break;
      case T_SETTINGS:
        this.#settings(flags, id, buf, start, end);
        break;
      case T_PING:
        this.#ping(flags, id, buf, start, end);
        break;
      case T_GOAWAY:
        this.#goaway(id, buf, start, end);
        break;
      case T_PRIORITY:
        this.#priority(id, buf, start, end);
        break;
      case T_PUSH_PROMISE:
        this.endings.protocolError('PUSH_PROMISE is not enabled');
        break;
      default: // RFC 9113 5.5: unknown frames are ignored
    }
    this.#limitWaiting();
  }

  dataBegin(id: number, length: number): void {
    this.#dataStream = undefined;
    if (length > this.window.left) {
      this.endings.fail(H2.FLOW_CONTROL_ERROR, 'DATA above the connection window');
      return;
    }
    this.window.left -= length;
    const stream = id === 0 ? undefined : this.#streams.get(id);
    if (stream === undefined) {
      if (id === 0 || this.#streams.isIdle(id)) this.endings.protocolError('DATA on an idle stream');
      else if (!this.#streams.wasReset(id) && !this.#ignored(id)) this.endings.sendReset(id, H2.STREAM_CLOSED);
      return;
    }
    if ((stream.state & REMOTE_DONE) !== 0) this.endings.streamFailed(stream, H2.STREAM_CLOSED);
    else if ((stream.state & HEAD_SEEN) === 0) this.endings.malformed(stream, BAD_MESSAGE, 'DATA before the head');
    else if (length > 0 && length > stream.receiveWindow) this.endings.streamFailed(stream, H2.FLOW_CONTROL_ERROR);
    else {
      stream.receiveWindow -= length;
      this.#dataStream = stream;
      this.#dataId = id;
    }
  }

  data(buf: Buffer, start: number, end: number): void {
    const stream = this.#openData();
    if (stream === undefined) {
      this.window.giveBack(end - start);
      return;
    }
    if (stream.bodyLeft >= 0) {
      stream.bodyLeft -= end - start;
      if (stream.bodyLeft < 0) {
        this.window.giveBack(end - start);
        this.endings.streamFailed(stream, H2.PROTOCOL_ERROR, WRONG_LENGTH); // not the connection, as Envoy
        return;
      }
    }
    stream.unconsumed += end - start;
    this.#owner.onData(stream, buf, start, end);
  }

  padding(bytes: number): void {
    if (bytes === 0) return;
    const stream = this.#openData();
    if (stream === undefined) this.window.giveBack(bytes);
    else {
      stream.unconsumed += bytes;
      this.window.consumed(stream, bytes);
    }
  }

  dataEnd(endStream: boolean, emptyPadding: boolean): void {
    const stream = this.#openData();
    this.#dataStream = undefined;
    if (emptyPadding && !endStream) this.endings.flood(this.#guard.payload(false));
    this.#limitWaiting();
    if (stream === undefined || !endStream) return;
    if (stream.bodyLeft > 0) this.endings.streamFailed(stream, H2.PROTOCOL_ERROR, WRONG_LENGTH);
    else this.#remoteEnd(stream);
  }

  // --- frames ---

  #limitWaiting(): void {
    const outbox = this.#sender.outbox;
    if (outbox.controlFrames > FEW_FRAMES || outbox.frames > FEW_FRAMES)
      this.endings.flood(this.#guard.waiting(outbox.frames, outbox.controlFrames));
  }

  #openData(): Http2Stream | undefined {
    const stream = this.#dataStream;
    return stream !== undefined && stream.id === this.#dataId && (stream.state & CLOSED) === 0 ? stream : undefined;
  }

  #headers(flags: number, id: number, buf: Buffer, start: number, end: number): void {
    if (id === 0) {
      this.endings.protocolError('HEADERS on stream 0');
      return;
    }
    this.#gathered(this.#block.headers(flags, id, buf, start, end));
  }

  #gathered(result: number): void {
    if (result === BLOCK_WHOLE) {
      this.#headBlock(this.#block.buf, this.#block.start, this.#block.end);
      this.#block.drop();
    } else if (result === BLOCK_SHORT) this.endings.protocolError('HEADERS shorter than its padding and priority');
    else if (result === BLOCK_FLOOD) this.endings.flood('http2.continuation_flood');
  }

  /** A whole header block: which kind of head it is, by the stream's state. */
  #headBlock(buf: Buffer, start: number, end: number): void {
    const id = this.#block.id;
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      if (this.#client || (id & 1) === 0) this.#headOfUnknown(id, buf, start, end);
      else if (id > this.#streams.lastPeerId) this.#newRequest(id, buf, start, end);
      else this.#headOfUnknown(id, buf, start, end);
    } else if ((stream.state & REMOTE_DONE) !== 0) {
      if (this.#decode(DISCARD, undefined, buf, start, end)) this.endings.streamFailed(stream, H2.STREAM_CLOSED);
    } else if (this.#client && (stream.state & HEAD_SEEN) === 0) this.#response(stream, buf, start, end);
    else this.#trailers(stream, buf, start, end);
  }

  #headOfUnknown(id: number, buf: Buffer, start: number, end: number): void {
    if (this.#streams.isIdle(id)) this.endings.protocolError('HEADERS on a stream the peer cannot open');
    else if (this.#client || this.#streams.wasReset(id) || this.#ignored(id)) this.#decode(DISCARD, undefined, buf, start, end);
    else this.endings.fail(H2.STREAM_CLOSED, 'HEADERS on a closed stream');
  }

  #newRequest(id: number, buf: Buffer, start: number, end: number): void {
    const streams = this.#streams;
    const ignored = this.#ignored(id);
    streams.lastPeerId = id;
    this.#guard.streams++;
    if (ignored || streams.active >= this.#streamLimit) {
      if (!this.#decode(DISCARD, undefined, buf, start, end) || ignored) return;
      this.endings.sendReset(id, H2.REFUSED_STREAM);
      this.endings.flood(this.#guard.ended(true, 0));
      return;
    }
    const stream = streams.add(id);
    stream.sendWindow = this.#sender.initialWindow;
    stream.receiveWindow = this.window.newStream;
    stream.openedMs = this.endings.nowMs;
    const head = this.#head;
    if (!this.#decode(REQUEST, stream.headers, buf, start, end)) return;
    if (this.#block.selfDependent) {
      this.endings.streamFailed(stream, H2.PROTOCOL_ERROR);
      return;
    }
    if (head.fault !== FINE) {
      this.endings.malformed(stream, head.fault, head.reason);
      return;
    }
    stream.method = head.method;
    stream.scheme = given(head.scheme);
    stream.authority = given(head.authority);
    stream.path = given(head.path);
    stream.protocol = given(head.protocol);
    stream.contentLength = stream.bodyLeft = head.contentLength;
    this.#announceHead(stream, end - start);
  }

  #response(stream: Http2Stream, buf: Buffer, start: number, end: number): void {
    const head = this.#head;
    stream.headers.clear();
    if (!this.#decode(RESPONSE, stream.headers, buf, start, end)) return;
    if (head.fault !== FINE) {
      this.endings.malformed(stream, head.fault, head.reason);
      return;
    }
    stream.statusCode = head.status;
    stream.contentLength = head.contentLength;
    stream.headBytes = end - start;
    if (head.status < 200) {
      if (this.#block.endStream) this.endings.malformed(stream, BAD_MESSAGE, '1xx with END_STREAM');
      else {
        this.#owner.onInformational(stream);
        if ((stream.state & CLOSED) === 0) stream.headers.clear();
      }
      return;
    }
    const bodiless = stream.method === 'HEAD' || head.status === 304 || (stream.method === 'CONNECT' && head.status < 300);
    stream.bodyLeft = head.status === 204 ? 0 : bodiless ? -1 : head.contentLength;
    this.#announceHead(stream, end - start);
  }

  #announceHead(stream: Http2Stream, bytes: number): void {
    const ends = this.#block.endStream;
    if (ends && stream.bodyLeft > 0) {
      this.endings.malformed(stream, BAD_MESSAGE, 'less body than content-length');
      return;
    }
    stream.headBytes = bytes;
    stream.state |= HEAD_SEEN;
    this.#owner.onHead(stream, ends);
    if (ends && (stream.state & CLOSED) === 0) this.#remoteEnd(stream);
  }

  #trailers(stream: Http2Stream, buf: Buffer, start: number, end: number): void {
    stream.peerTrailers ??= new HeaderBlock();
    const block = stream.peerTrailers;
    block.clear();
    if (!this.#decode(TRAILERS, block, buf, start, end)) return;
    if (this.#head.fault !== FINE) this.endings.malformed(stream, this.#head.fault, this.#head.reason);
    else if (!this.#block.endStream) this.endings.malformed(stream, BAD_MESSAGE, 'trailers without END_STREAM');
    else if (stream.bodyLeft > 0) this.endings.malformed(stream, BAD_MESSAGE, 'less body than content-length');
    else {
      if (block.count > 0) this.#owner.onTrailers(stream, block);
      if ((stream.state & CLOSED) === 0) this.#remoteEnd(stream);
    }
  }

  #decode(kind: number, block: HeaderBlock | undefined, buf: Buffer, start: number, end: number): boolean {
    this.#head.begin(kind, block);
    if (!this.#decoder.decode(buf, start, end, this.#head)) {
      this.endings.fail(H2.COMPRESSION_ERROR, 'header block cannot be decoded');
      return false;
    }
    this.#head.finish();
    return true;
  }

  #remoteEnd(stream: Http2Stream): void {
    stream.state |= REMOTE_DONE;
    this.#owner.onEnd(stream);
    this.endings.closeWhenDone(stream);
  }

  #windowUpdate(id: number, buf: Buffer, start: number, end: number): void {
    if (!this.endings.sized(end - start === 4, 'WINDOW_UPDATE')) return;
    const bytes = buf.readUInt32BE(start) & 0x7fffffff;
    if (id === 0) {
      if (bytes === 0) this.endings.protocolError('WINDOW_UPDATE by 0');
      else if (this.#sender.window + bytes > WINDOW_MAX) this.endings.fail(H2.FLOW_CONTROL_ERROR, 'connection window above 2^31-1');
      else {
        this.#sender.window += bytes;
        this.#sender.pump();
      }
      return;
    }
    const stream = this.#known(id, 'WINDOW_UPDATE');
    if (stream === undefined) return;
    if (bytes === 0) this.endings.streamFailed(stream, H2.PROTOCOL_ERROR);
    else if (!this.#sender.openStream(stream, bytes)) this.endings.streamFailed(stream, H2.FLOW_CONTROL_ERROR);
    else this.#sender.pump();
  }

  #rstStream(id: number, buf: Buffer, start: number, end: number): void {
    if (!this.endings.sized(end - start === 4, 'RST_STREAM')) return;
    const stream = this.#known(id, 'RST_STREAM');
    if (stream === undefined) {
      this.#streams.forgetReset(id);
      return;
    }
    const early = (stream.state & HEAD_SENT) === 0;
    const ageMs = this.endings.nowMs - stream.openedMs;
    this.endings.abort(stream, buf.readUInt32BE(start), true);
    if (!this.#client) this.endings.flood(this.#guard.ended(early, ageMs));
  }

  #settings(flags: number, id: number, buf: Buffer, start: number, end: number): void {
    if (id !== 0) {
      this.endings.protocolError('SETTINGS on a stream');
      return;
    }
    if ((flags & F_ACK) !== 0) {
      if (!this.endings.sized(end === start, 'SETTINGS acknowledgement')) return;
      if (!this.window.acknowledge(this.#streams)) this.endings.protocolError('SETTINGS acknowledged twice');
      else this.#decoder.limit(this.#tableSize);
      return;
    }
    if (!this.endings.sized((end - start) % 6 === 0, 'SETTINGS')) return;
    const peer = this.peer;
    const before = peer.initialWindow;
    const problem = peer.read(buf, start, end, this.#client);
    if (problem !== H2.NO_ERROR) {
      this.endings.fail(problem, 'SETTINGS value out of range');
      return;
    }
    this.#applyPeer(peer.initialWindow - before);
  }

  #applyPeer(windowChange: number): void {
    const sender = this.#sender;
    const peer = this.peer;
    sender.encoder.limitTable(peer.headerTableLow);
    sender.encoder.limitTable(peer.headerTableSize);
    sender.frameMax = peer.frameMax;
    sender.initialWindow = peer.initialWindow;
    if (windowChange !== 0) {
      for (const stream of this.#streams.all()) {
        if (sender.openStream(stream, windowChange)) continue;
        this.endings.fail(H2.FLOW_CONTROL_ERROR, 'SETTINGS take a stream window above 2^31-1');
        return;
      }
    }
    this.settingsSeen = true;
    sender.outbox.beginFrame(T_SETTINGS, F_ACK, 0);
    sender.outbox.endFrame();
    sender.outbox.controlFrames++;
    this.#owner.onPeerSettings();
    sender.pump();
  }

  #ping(flags: number, id: number, buf: Buffer, start: number, end: number): void {
    if (id !== 0) {
      this.endings.protocolError('PING on a stream');
      return;
    }
    if (!this.endings.sized(end - start === 8, 'PING')) return;
    if ((flags & F_ACK) !== 0) {
      if (!this.pingWaits || buf.readUInt32BE(start + 4) !== this.pingNumber) return;
      this.pingWaits = false;
      this.#owner.onPingAck();
      return;
    }
    const outbox = this.#sender.outbox;
    outbox.beginFrame(T_PING, F_ACK, 0);
    outbox.raw(buf, start, end);
    outbox.endFrame();
    outbox.controlFrames++;
  }

  #goaway(id: number, buf: Buffer, start: number, end: number): void {
    if (id !== 0) {
      this.endings.protocolError('GOAWAY on a stream');
      return;
    }
    if (!this.endings.sized(end - start >= 8, 'GOAWAY')) return;
    const last = buf.readUInt32BE(start) & 0x7fffffff;
    const code = buf.readUInt32BE(start + 4);
    this.peerGone = true;
    if (this.#client) for (const stream of this.#streams.all()) if (stream.id > last) this.endings.abort(stream, H2.REFUSED_STREAM, true);
    this.#owner.onGoaway(last, code);
  }

  #priority(id: number, buf: Buffer, start: number, end: number): void {
    if (id === 0) {
      this.endings.protocolError('PRIORITY on stream 0');
      return;
    }
    const stream = this.#streams.get(id);
    if (end - start !== 5) {
      if (stream !== undefined) this.endings.streamFailed(stream, H2.FRAME_SIZE_ERROR);
      else this.endings.sized(false, 'PRIORITY');
    } else if ((buf.readUInt32BE(start) & 0x7fffffff) === id) {
      if (stream !== undefined) this.endings.streamFailed(stream, H2.PROTOCOL_ERROR);
      else this.endings.protocolError('stream depends on itself');
    }
  }

  /** The open stream a frame is for; a connection error when it was never opened. */
  #known(id: number, frame: string): Http2Stream | undefined {
    const stream = id === 0 ? undefined : this.#streams.get(id);
    if (stream === undefined && (id === 0 || this.#streams.isIdle(id))) this.endings.protocolError(`${frame} on an idle stream`);
    return stream;
  }

  /** A stream the final GOAWAY said will not be served. */
  #ignored(id: number): boolean {
    const last = this.#streams.goawayLast;
    return last >= 0 && id > last && !this.#client;
  }
}
