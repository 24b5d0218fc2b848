"""The routes of the console's API. Read ``overview`` first: what the page needs at its start, and
the status. ``live`` streams outcomes and shows their images, ``letters`` surveys dead letters and
replays them. ``asking`` has what all of them share.
"""
