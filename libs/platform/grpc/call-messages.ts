import type { GrpcCall } from './grpc-call.js';

/**
 * The messages of a call, one at a time: nothing more is read before the one before was dealt with. Ends when the client says no more, and fails when its
 * connection is lost. For calls whose messages are awaited one by one; a listener of one's own costs less.
 */
export async function* messagesOf<Request>(call: GrpcCall<Request>): AsyncGenerator<Request, void, void> {
  const messages: Request[] = [];
  let end: 'half-closed' | 'closed' | undefined;
  let wake: () => void = () => undefined;
  const ended = (how: typeof end) => {
    end ??= how;
    wake();
  };
  call.listen({
    message(request) {
      messages.push(request);
      call.pause();
      wake();
    },
    halfClosed: () => ended('half-closed'),
    closed: () => ended('closed'),
  });
  for (;;) {
    const message = messages.shift();
    if (message !== undefined) yield message;
    else if (end === 'half-closed' || (call.isOver === true && !call.isCancelled)) return;
    else if (end === 'closed') throw new Error('the connection was lost');
    else {
      const woken = new Promise<void>((resolve) => {
        wake = resolve;
      });
      call.resume();
      await woken;
    }
  }
}
