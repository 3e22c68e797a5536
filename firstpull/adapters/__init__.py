"""The adapters: each implements a port with an Azure SDK. No other code imports these SDKs."""
