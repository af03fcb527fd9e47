"""SIR-SNC: a learned codec of the signed distance in a narrow band around a surface."""
