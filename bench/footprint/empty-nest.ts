import 'reflect-metadata';

import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';

// The least that any NestJS process costs: an application of nothing that listens. It says so, and ends when nobody hears it any more.
class Empty {}
Module({})(Empty);

const application = await NestFactory.create(Empty, new FastifyAdapter(), { logger: false });
await application.listen(0, '127.0.0.1');
process.stdout.write('listens\n');
process.stdin.resume().on('end', () => process.exit());
