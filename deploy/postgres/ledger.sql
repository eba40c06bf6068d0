CREATE DATABASE ledger OWNER signalroom;
