"""A Bybit V5 exchange in a box, on loopback, with faults on demand.

`serve` starts it: REST and streams on one port, fed from any candles and books, its clock
under your control. It speaks the wire form of the exchange closely enough that the unmodified
pybit client cannot tell; behaviour that no documentation fixes is marked ``assumption`` where
it is coded. Chapter 20 uses it to show what an exchange can do to your data.
"""

from setrade.simulator.faults import KINDS, REST, STREAM, Fault
from setrade.simulator.server import Server, SimulatorError, serve
from setrade.simulator.wire import Clock, ListedInstrument

__all__ = [
    "KINDS",
    "REST",
    "STREAM",
    "Clock",
    "Fault",
    "ListedInstrument",
    "Server",
    "SimulatorError",
    "serve",
]
