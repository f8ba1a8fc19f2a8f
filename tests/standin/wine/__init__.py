"""A stand-in Windows host whose files, programs and services are real ones in a Wine prefix (tests/wine).

What Wine has not stays modelled: firewall, features, Defender, power, registry, access rules, users.
"""
