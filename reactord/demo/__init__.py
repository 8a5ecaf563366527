"""What does the whole loop look like on one machine, with data that says it is synthetic?"""
