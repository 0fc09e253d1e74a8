"""The broker, and its public names."""

from .access import AccessFiles as AccessFiles
from .limits import BrokerLimits as BrokerLimits
from .quota import RelayLimits as RelayLimits
from .serve import serve_broker as serve_broker
from .tls import TLSFiles as TLSFiles
