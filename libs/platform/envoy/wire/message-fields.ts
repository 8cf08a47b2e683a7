import { WireWriter } from './wire-writer.js';

/** Writes a value that is there, tag and all. */
type Write = (writer: WireWriter, value: never) => void;

/** One field of a message: its number in Envoy's .proto and how its value is written. */
interface Field {
  readonly number: number;
  readonly write: Write;
}

type KeysOf<T> = T extends unknown ? keyof T : never;

/** A field for every member of the model, no more and no fewer: what has no number does not compile. `@type` is said by whoever holds the message. */
type Fields<T> = { readonly [K in Exclude<KeysOf<T>, '@type'>]-?: Field };

/** How a message of the model is written. Fields go in the order in which they are listed, so equal messages give equal bytes. */
export interface Message<T> {
  readonly write: (writer: WireWriter, value: T) => void;
}

const VARINT = 0;
const DOUBLE = 1;
const BYTES = 2;

/** Declares a message of Envoy by its fields. */
export function message<T extends object>(fields: Fields<T>): Message<T> {
  const list = Object.entries<Field>(fields as Readonly<Record<string, Field>>).map(([key, field]) => [key, field.write] as const);
  const keys = list.map(([key]) => key);
  const writes = list.map(([, write]) => write) as ((writer: WireWriter, value: unknown) => void)[];
  return {
    write(writer, value) {
      for (let i = 0; i < keys.length; i++) {
        const member = (value as Record<string, unknown>)[keys[i] as string];
        if (member !== undefined) (writes[i] as (writer: WireWriter, value: unknown) => void)(writer, member);
      }
    },
  };
}

const shared = new WireWriter();

/** The bytes of a message. */
export function encode<T>(type: Message<T>, value: T): Buffer {
  type.write(shared, value);
  return shared.finish();
}

/** A text; the empty one is the default and not written. */
export function text(number: number): Field {
  const { write } = chosenText(number);
  return { number, write: (writer, value: string) => value !== '' && write(writer, value as never) };
}

/** A text that is one of several possible members: it is written when it is empty too, since it says which. */
export function chosenText(number: number): Field {
  const tag = (number << 3) | BYTES;
  return {
    number,
    write(writer, value: string) {
      writer.varint(tag);
      writer.text(value);
    },
  };
}

/** Bytes, which the model has as JSON: base64. */
export function base64(number: number): Field {
  const tag = (number << 3) | BYTES;
  return {
    number,
    write(writer, value: string) {
      writer.varint(tag);
      const open = writer.open();
      writer.raw(Buffer.from(value, 'base64'));
      writer.close(open);
    },
  };
}

export function texts(number: number): Field {
  const { write } = chosenText(number);
  return {
    number,
    write(writer, values: readonly string[]) {
      for (const value of values) write(writer, value as never);
    },
  };
}

/** uint32 or bool; 0 and false are the default and not written. */
export function scalar(number: number): Field {
  const { write } = chosenScalar(number);
  return { number, write: (writer, value: number | boolean) => Number(value) !== 0 && write(writer, value as never) };
}

/** uint32 or bool that is one of several possible members. */
export function chosenScalar(number: number): Field {
  const tag = (number << 3) | VARINT;
  return {
    number,
    write(writer, value: number | boolean) {
      writer.varint(tag);
      writer.varint(Number(value));
    },
  };
}

/** google.protobuf.UInt32Value or BoolValue. */
export function wrapped(number: number): Field {
  const tag = (number << 3) | BYTES;
  const { write } = scalar(1);
  return {
    number,
    write(writer, value: number | boolean) {
      writer.varint(tag);
      const open = writer.open();
      write(writer, value as never);
      writer.close(open);
    },
  };
}

/** An enumeration by the names that the model uses. @throws Error for a name that is not listed. */
export function choice(number: number, values: Readonly<Record<string, number>>): Field {
  const { write } = scalar(number);
  return {
    number,
    write(writer, name: string) {
      const value = values[name];
      if (value === undefined) throw new Error(`${name} is not a value of field ${number}`);
      write(writer, value as never);
    },
  };
}

/** google.protobuf.Duration, which the model has as JSON: `1.5s`. Not negative. */
export function duration(number: number): Field {
  const tag = (number << 3) | BYTES;
  const seconds = scalar(1).write;
  const nanos = scalar(2).write;
  return {
    number,
    write(writer, value: string) {
      const parts = /^(\d+)(?:\.(\d{1,9}))?s$/.exec(value);
      if (parts === null) throw new Error(`${value} is not a duration`);
      writer.varint(tag);
      const open = writer.open();
      seconds(writer, Number(parts[1]) as never);
      nanos(writer, Number((parts[2] ?? '').padEnd(9, '0')) as never);
      writer.close(open);
    },
  };
}

/** A message within the message. */
export function one<T>(number: number, type: Message<T> | (() => Message<T>)): Field {
  const tag = (number << 3) | BYTES;
  return {
    number,
    write(writer, value: T) {
      writer.varint(tag);
      const open = writer.open();
      (typeof type === 'function' ? type() : type).write(writer, value);
      writer.close(open);
    },
  };
}

export function many<T>(number: number, type: Message<T>): Field {
  const { write } = one(number, type);
  return {
    number,
    write(writer, values: readonly T[]) {
      for (const value of values) write(writer, value as never);
    },
  };
}

// biome-ignore lint/suspicious/noExplicitAny: the message of a type URL takes what the model has under this URL
type ByTypeUrl = Readonly<Record<string, Message<any>>>;

/** google.protobuf.Any: the model names the type in `@type`. */
function anyOf(types: ByTypeUrl): Message<{ readonly '@type': string }> {
  const url = chosenText(1).write;
  return {
    write(writer, value) {
      const type = types[value['@type']];
      if (type === undefined) throw new Error(`${value['@type']} is not expected here`);
      url(writer, value['@type'] as never);
      one(2, type).write(writer, value as never);
    },
  };
}

export function any(number: number, types: ByTypeUrl): Field {
  return one(number, anyOf(types));
}

/** map<string, T>, in the order of its keys. */
function mapOf<T>(number: number, value: Field): Field {
  const key = chosenText(1).write;
  const tag = (number << 3) | BYTES;
  return {
    number,
    write(writer, entries: Readonly<Record<string, T>>) {
      for (const name of Object.keys(entries).sort()) {
        writer.varint(tag);
        const open = writer.open();
        key(writer, name as never);
        value.write(writer, entries[name] as never);
        writer.close(open);
      }
    },
  };
}

export function anyMap(number: number, types: ByTypeUrl): Field {
  return mapOf(number, any(2, types));
}

/** google.protobuf.Value, as far as the model has any: texts, numbers, truth values. */
const plainValue: Message<string | number | boolean> = {
  write(writer, value) {
    if (typeof value === 'number') {
      writer.varint((2 << 3) | DOUBLE);
      writer.double(value);
    } else if (typeof value === 'boolean') chosenScalar(4).write(writer, value as never);
    else chosenText(3).write(writer, value as never);
  },
};

/** google.protobuf.Struct with plain values. */
const struct: Message<Readonly<Record<string, string | number | boolean>>> = {
  write: (writer, value) => mapOf(1, one(2, plainValue)).write(writer, value as never),
};

/** map<string, google.protobuf.Struct>. */
export function structMap(number: number): Field {
  return mapOf(number, one(2, struct));
}
